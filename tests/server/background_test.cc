// Long bodies, in and out, wait for their disk and nobody else does: while one answer's next piece, or one body's next
// part, cannot be read or written, another request is answered.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "server/http_server.h"
#include "server/workers.h"

namespace carat::server {
namespace {

class Client {
 public:
  explicit Client(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    const timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(std::string_view bytes) const {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // Up to the end of the connection.
  std::string rest() const {
    std::string all;
    std::array<char, 65536> buffer{};
    for (ssize_t got = 0; (got = ::recv(fd_, buffer.data(), buffer.size(), 0)) > 0;)
      all.append(buffer.data(), static_cast<size_t>(got));
    return all;
  }
  std::string get(const std::string& path) const {
    send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return rest();
  }

 private:
  int fd_;
};

class Background : public testing::Test {
 protected:
  static constexpr uint64_t kBytes = 1'000'000;

  void SetUp() override {
    HttpServerOptions options;
    options.port = 0;
    HttpServer::Hooks hooks;
    hooks.on_header = [this](HttpRequest& request) {
      BodyRule rule;
      rule.limit_bytes = kBytes;
      if (request.path == "/in")
        rule.sink = [this](std::string_view part) { return wait(), taken_ += part, taken_.size() < fails_at_; };
      return rule;
    };
    hooks.on_request = [this](const ExchangePtr& exchange) {
      if (exchange->request().path != "/out") return exchange->respond({200, "text/plain", "quick", {}});
      HttpResponse response;
      response.source_bytes = kBytes;
      response.source = [this, at = uint64_t{0}](std::span<char> piece) mutable -> size_t {
        wait();
        for (char& c : piece) c = static_cast<char>('a' + at++ % 26);
        return at > fails_at_ ? 0 : piece.size();
      };
      exchange->respond(std::move(response));
    };
    hooks.in_background = [this](std::function<void()> task) { workers_.post(std::move(task)); };
    hooks.on_done = [](const HttpServer::Hooks::Done&) {};
    auto server = HttpServer::listen(options, std::move(hooks));
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(*server);
    thread_ = std::thread([this] { server_->run(); });
  }
  void TearDown() override {
    server_->stop();
    thread_.join();
    workers_.finish();
  }
  void wait() {
    ++waits_;
    gate_.wait();
  }
  void until_one_waits() const {
    while (waits_ == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  static std::string bytes() {
    std::string all(kBytes, '\0');
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>('a' + i % 26);
    return all;
  }

  std::promise<void> open_;
  std::atomic<int> waits_{0};
  std::shared_future<void> gate_ = open_.get_future().share();
  std::string taken_;
  uint64_t fails_at_ = UINT64_MAX;
  Workers workers_{2};
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

TEST_F(Background, ASlowSourceHoldsNobodyUp) {
  const Client slow(server_->port()), other(server_->port());
  slow.send("GET /out HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  until_one_waits();
  EXPECT_TRUE(other.get("/").ends_with("quick"));
  open_.set_value();
  EXPECT_TRUE(slow.rest().ends_with("\r\n\r\n" + bytes()));
}

TEST_F(Background, ASlowSinkHoldsNobodyUp) {
  const Client slow(server_->port()), other(server_->port());
  const std::string head = "POST /in HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n";
  slow.send(head + bytes().substr(0, 1000));
  until_one_waits();
  EXPECT_TRUE(other.get("/").ends_with("quick"));
  open_.set_value();
  slow.send(bytes().substr(1000));
  EXPECT_TRUE(slow.rest().ends_with("quick"));
  EXPECT_EQ(taken_, bytes());
}

TEST_F(Background, TheNextRequestOfTheConnectionWaitsItsTurn) {
  open_.set_value();
  const Client client(server_->port());
  client.send(
      "POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcdeGET /out HTTP/1.1\r\nHost: x\r\nConnection: "
      "close\r\n\r\n");
  const std::string all = client.rest();
  EXPECT_NE(all.find("quickHTTP/1.1 200"), std::string::npos);
  EXPECT_TRUE(all.ends_with(bytes()));
  EXPECT_EQ(taken_, "abcde");
}

TEST_F(Background, WhatFailsEndsItsConnection) {
  open_.set_value();
  fails_at_ = 300'000;
  const std::string answer = Client(server_->port()).get("/out");
  EXPECT_NE(answer.find("Content-Length: 1000000"), std::string::npos);
  EXPECT_LT(answer.size(), 700'000u);
  const Client client(server_->port());
  client.send("POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes().substr(0, 400'000));
  EXPECT_NE(client.rest().find("500"), std::string::npos);
}

// Gone in the middle: the piece that a worker is reading, or writing, comes to nothing.
TEST_F(Background, AClientThatLeavesMeanwhile) {
  {
    const Client slow(server_->port());
    slow.send("GET /out HTTP/1.1\r\nHost: x\r\n\r\n");
    until_one_waits();
  }
  {
    const Client slow(server_->port());
    slow.send("POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes().substr(0, 1000));
  }
  EXPECT_TRUE(Client(server_->port()).get("/").ends_with("quick"));
  open_.set_value();
  EXPECT_TRUE(Client(server_->port()).get("/").ends_with("quick"));
}

}  // namespace
}  // namespace carat::server
