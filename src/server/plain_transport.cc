// The transport without TLS.
#include <boost/asio/write.hpp>

#include "server/transport.h"

namespace carat::server {
namespace {

class Plain final : public Transport {
 public:
  explicit Plain(boost::asio::ip::tcp::socket socket) : socket_(std::move(socket)) {}
  void handshake(std::function<void(boost::system::error_code)> done) override { done({}); }
  void read_some(boost::asio::mutable_buffer into, Done done) override {
    socket_.async_read_some(into, std::move(done));
  }
  void write_all(boost::asio::const_buffer from, Done done) override {
    boost::asio::async_write(socket_, from, std::move(done));
  }
  boost::asio::ip::tcp::socket& socket() override { return socket_; }

 private:
  boost::asio::ip::tcp::socket socket_;
};

}  // namespace

std::unique_ptr<Transport> plain_transport(boost::asio::ip::tcp::socket socket) {
  return std::make_unique<Plain>(std::move(socket));
}

}  // namespace carat::server
