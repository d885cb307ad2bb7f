// The transport with TLS 1.2 or 1.3, through OpenSSL.
#include <fmt/format.h>

#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>

#include "base/files.h"
#include "server/transport.h"

namespace carat::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

class Tls final : public Transport {
 public:
  Tls(tcp::socket socket, std::shared_ptr<asio::ssl::context> context)
      : context_(std::move(context)), stream_(std::move(socket), *context_) {}
  void handshake(std::function<void(boost::system::error_code)> done) override {
    stream_.async_handshake(asio::ssl::stream_base::server, std::move(done));
  }
  void read_some(asio::mutable_buffer into, Done done) override { stream_.async_read_some(into, std::move(done)); }
  void write_all(asio::const_buffer from, Done done) override { asio::async_write(stream_, from, std::move(done)); }
  tcp::socket& socket() override { return stream_.next_layer(); }

 private:
  std::shared_ptr<asio::ssl::context> context_;
  asio::ssl::stream<tcp::socket> stream_;
};

class Identity final : public TlsIdentity {
 public:
  explicit Identity(std::shared_ptr<asio::ssl::context> context) : context_(std::move(context)) {}
  std::unique_ptr<Transport> wrap(tcp::socket socket) override {
    return std::make_unique<Tls>(std::move(socket), context_);
  }

 private:
  std::shared_ptr<asio::ssl::context> context_;
};

}  // namespace

Result<std::unique_ptr<TlsIdentity>> TlsIdentity::load(const std::string& certificates, const std::string& key) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  constexpr size_t kMostBytes = size_t{1} << 20;
  CARAT_TRY(const std::string chain, read_file(certificates, kMostBytes));
  CARAT_TRY(const std::string private_key, read_file(key, kMostBytes));
  boost::system::error_code error;
  context->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                           asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 |
                           asio::ssl::context::no_tlsv1_1 | asio::ssl::context::no_compression,
                       error);
  context->use_certificate_chain(asio::buffer(chain), error);
  if (error) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: not a certificate chain in PEM: {}", certificates, error.message())};
  }
  context->use_private_key(asio::buffer(private_key), asio::ssl::context::pem, error);
  if (error) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: not the certificate's private key in PEM: {}", key, error.message())};
  }
  return std::unique_ptr<TlsIdentity>(std::make_unique<Identity>(std::move(context)));
}

}  // namespace carat::server
