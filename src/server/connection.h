// One connection of the server: reads a request, lets it be answered, reads the next. Everything happens on the network
// thread; only the functions of Exchange may be called from others. (Asio: for the network's own files.)
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "server/http_server.h"
#include "server/transport.h"

namespace boost::asio {
class io_context;
}

namespace carat::server {

// What connections share.
struct ConnectionHost {
  boost::asio::io_context& io;
  const HttpServerOptions& options;
  const HttpServer::Hooks& hooks;
  std::atomic<uint64_t> next_request_id{1};
  bool draining = false;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  Connection(ConnectionHost& host, std::unique_ptr<Transport> transport, std::string peer);
  ~Connection();

  void start();
  // Looks at the deadlines; the server calls it a few times a second.
  void check(Clock::time_point now);
  // Ends the answer in progress as if the client had gone, but tells it: the server is going.
  void abort_answer();
  // Closes if it is between requests: the server is draining.
  void close_if_idle();
  void close();
  bool closed() const { return closed_; }
  bool serving() const { return exchange_ != nullptr; }
  // Answers 503 and closes: there are too many connections.
  void turn_away();

 private:
  friend class ConnectionExchange;
  enum class Phase { kHandshake, kHead, kBody, kServing };

  void read();
  void on_read(const boost::system::error_code& error, size_t bytes);
  void advance();
  bool take_header();
  void refuse(int status, const char* problem);
  void serve();
  void client_is_gone();
  void finish_exchange();
  void next_request();

  // From the exchange, on the network thread.
  void send_head(int status, const std::string& content_type, const Headers& headers, int64_t length);
  void send(std::string bytes);
  void send_source(std::function<size_t(std::span<char>)> source, uint64_t bytes);  // ends the exchange
  void send_piece(std::string bytes);  // of a stream: whoever does not read them is sent away
  void flush();
  void send_from_source();
  void on_source_read(std::string piece);
  void sink_body();
  void on_sunk(bool ok);
  void on_written(const boost::system::error_code& error);

  ConnectionHost& host_;
  std::unique_ptr<Transport> transport_;
  const std::string peer_;
  Phase phase_ = Phase::kHandshake;
  std::unique_ptr<RequestParser> parser_;
  std::shared_ptr<class ConnectionExchange> exchange_;
  std::vector<char> read_buffer_;
  std::string in_;  // read, not yet parsed
  std::function<size_t(std::span<char>)>
      source_;  // what comes after out_, and how much of it; a worker has it meanwhile
  uint64_t source_left_ = 0;
  RequestParser::BodySink sink_;  // the body's, and what of it was parsed; a worker has both while sinking_
  std::string body_part_;
  std::string out_, writing_;
  bool reading_ = false, closed_ = false, half_closed_ = false;
  bool reading_source_ = false, sinking_ = false;
  bool close_when_written_ = false, keep_alive_ = true, between_requests_ = true;
  Clock::time_point since_;        // when the phase began
  Clock::time_point write_since_;  // when the write under way began
  uint64_t body_bytes_ = 0, sent_bytes_ = 0;
};

}  // namespace carat::server
