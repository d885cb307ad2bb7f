#include "server/http_server.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <vector>

#include "server/connection.h"

namespace carat::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::milliseconds kSweep{200}, kFarewell{800};

class Server final : public HttpServer {
 public:
  Server(const HttpServerOptions& options, Hooks hooks)
      : options_(options), hooks_(std::move(hooks)), host_{io_, options_, hooks_, 1, false} {}

  Status open() {
    if (!options_.certificate_file.empty()) {
      CARAT_TRY(tls_, TlsIdentity::load(options_.certificate_file, options_.key_file));
    }
    error_code error;
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(options_.host, std::to_string(options_.port),
                                        tcp::resolver::passive | tcp::resolver::numeric_service, error);
    if (error || found.empty()) {
      return Error{ErrorCode::kInvalidArgument, fmt::format("no address to listen on: {}", options_.host)};
    }
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(1024, error);
    if (error) {
      return Error{ErrorCode::kIo,
                   fmt::format("cannot listen on {}:{}: {}", options_.host, options_.port, error.message())};
    }
    accept();
    sweep();
    return {};
  }

  uint16_t port() const override {
    error_code error;
    return acceptor_port_ != 0 ? acceptor_port_ : acceptor_.local_endpoint(error).port();
  }
  std::string url() const override {
    const bool v6 = options_.host.find(':') != std::string::npos;
    return fmt::format("{}://{}{}{}:{}", tls_ ? "https" : "http", v6 ? "[" : "", options_.host, v6 ? "]" : "", port());
  }
  void run() override { io_.run(); }
  void post(std::function<void()> task) override { asio::post(io_, std::move(task)); }
  void stop() override { io_.stop(); }
  size_t connections() const override { return connections_.size(); }

  void every(std::chrono::milliseconds interval, std::function<void()> task) override {
    tasks_.push_back({interval, std::chrono::steady_clock::now() + interval, std::move(task)});
  }

  void drain(std::chrono::milliseconds limit) override {
    post([this, limit] {
      host_.draining = true;
      drain_ends_ = std::chrono::steady_clock::now() + limit;
      error_code ignored;
      acceptor_.close(ignored);
      for (const auto& connection : connections_) connection->close_if_idle();
    });
  }

  void on_signal(std::function<void(int)> caught) override {
    error_code ignored;
    signals_.add(SIGINT, ignored);
    signals_.add(SIGTERM, ignored);
    caught_ = std::move(caught);
    wait_for_signal();
  }

 private:
  struct Repeated {
    std::chrono::milliseconds interval;
    std::chrono::steady_clock::time_point next;
    std::function<void()> task;
  };

  void wait_for_signal() {
    signals_.async_wait([this](error_code error, int number) {
      if (error) return;
      caught_(number);
      wait_for_signal();
    });
  }

  void accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) {  // out of descriptors, most likely: try again with the next sweep
        accept_stalled_ = true;
        return;
      }
      welcome(std::move(socket));
      accept();
    });
  }

  void welcome(tcp::socket socket) {
    error_code error;
    socket.set_option(tcp::no_delay(true), error);
    const tcp::endpoint peer = socket.remote_endpoint(error);
    if (error) return;
    std::string name = fmt::format("{}:{}", peer.address().to_string(), peer.port());
    auto transport = tls_ ? tls_->wrap(std::move(socket)) : plain_transport(std::move(socket));
    connections_.push_back(std::make_shared<Connection>(host_, std::move(transport), std::move(name)));
    if (connections_.size() > options_.max_connections) {
      connections_.back()->turn_away();
    } else {
      connections_.back()->start();
    }
  }

  void sweep() {
    timer_.expires_after(kSweep);
    timer_.async_wait([this](error_code error) {
      if (error) return;
      const auto now = std::chrono::steady_clock::now();
      for (const auto& connection : connections_) connection->check(now);
      std::erase_if(connections_, [](const auto& connection) { return connection->closed(); });
      for (Repeated& repeated : tasks_) {
        if (now < repeated.next) continue;
        repeated.next = now + repeated.interval;
        repeated.task();
      }
      if (std::exchange(accept_stalled_, false) && acceptor_.is_open()) accept();
      if (host_.draining) {
        for (const auto& connection : connections_) connection->close_if_idle();
        if (connections_.empty() || (aborted_ && now >= drain_ends_)) return io_.stop();
        if (now >= drain_ends_) {  // the last ones are told that it is over, and get a moment to hear it
          aborted_ = true;
          drain_ends_ = now + kFarewell;
          for (const auto& connection : connections_) connection->abort_answer();
        }
      }
      sweep();
    });
  }

  const HttpServerOptions options_;
  const Hooks hooks_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  uint16_t acceptor_port_ = 0;
  asio::steady_timer timer_{io_};
  asio::signal_set signals_{io_};
  std::function<void(int)> caught_;
  std::unique_ptr<TlsIdentity> tls_;
  ConnectionHost host_;
  std::vector<std::shared_ptr<Connection>> connections_;
  std::vector<Repeated> tasks_;
  std::chrono::steady_clock::time_point drain_ends_;
  bool accept_stalled_ = false, aborted_ = false;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const HttpServerOptions& options, Hooks hooks) {
  auto server = std::make_unique<Server>(options, std::move(hooks));
  CARAT_CHECK(server->open());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace carat::server
