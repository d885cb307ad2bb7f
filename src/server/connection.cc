#include "server/connection.h"

#include <fmt/format.h>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <mutex>

namespace carat::server {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr size_t kReadBytes = 4096, kBodyReadBytes = 64 << 10;
constexpr size_t kSourceBytes = 256 << 10;
constexpr size_t kMostPipelined = 64 << 10;  // bytes of further requests that wait in memory

bool no_body_in(int status) { return status == 204 || status == 304 || status < 200; }

}  // namespace

// The exchange of a connection. The connection drops it when the answer is out or the client gone; handlers may hold it
// longer, and what they say then is lost.
class ConnectionExchange final : public Exchange {
 public:
  ConnectionExchange(std::weak_ptr<Connection> connection, asio::io_context& io, HttpRequest request)
      : connection_(std::move(connection)), io_(io), is_head_(request.method == "HEAD") {
    request_ = std::move(request);
  }

  void respond(HttpResponse response) override {
    on_network([this, response = std::move(response)]() mutable {
      const auto connection = live();
      if (!connection || started_) return;
      started_ = true, status = response.status;
      const bool bodiless = no_body_in(response.status);
      const uint64_t body_bytes = response.source ? response.source_bytes : response.body.size();
      const auto length = bodiless ? int64_t{-1} : static_cast<int64_t>(body_bytes);
      connection->send_head(response.status, response.content_type, response.headers, length);
      if (!is_head_ && response.source && body_bytes > 0) {
        return connection->send_source(std::move(response.source), body_bytes);
      }
      if (!is_head_ && !bodiless) connection->send(std::move(response.body));
      complete = true;
      connection->finish_exchange();
    });
  }

  void begin_stream(int stream_status, std::string content_type, Headers headers) override {
    on_network([this, stream_status, content_type = std::move(content_type), headers = std::move(headers)] {
      const auto connection = live();
      if (!connection || started_) return;
      started_ = streaming_ = true, status = stream_status;
      connection->send_head(stream_status, content_type, headers, -1);
      if (!is_head_) chunked_ = !request_.http_1_0;
    });
  }

  void write(std::string bytes) override {
    on_network([this, bytes = std::move(bytes)]() mutable {
      const auto connection = live();
      if (!connection || !streaming_ || is_head_ || bytes.empty()) return;
      if (chunked_) bytes = fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
      connection->send_piece(std::move(bytes));
    });
  }

  void end() override {
    on_network([this] {
      const auto connection = live();
      if (!connection || !streaming_) return;
      if (chunked_) connection->send("0\r\n\r\n");
      complete = true;
      connection->finish_exchange();
    });
  }

  void on_gone(std::function<void()> gone) override {
    on_network([this, gone = std::move(gone)]() mutable {
      if (is_gone) {
        gone();
      } else if (live()) {
        gone_ = std::move(gone);
      }
    });
  }

  void note(Note said) override {
    on_network([this, said = std::move(said)]() mutable { noted = std::move(said); });
  }

  void tell_gone() {
    if (is_gone) return;
    is_gone = true;
    if (const auto gone = std::exchange(gone_, nullptr)) gone();
  }

  void detach() {
    connection_.reset();
    gone_ = nullptr;
  }

  int status = 0;
  bool complete = false, is_gone = false;
  Note noted;
  const Connection::Clock::time_point began = Connection::Clock::now();

 private:
  std::shared_ptr<Connection> live() const {
    auto connection = connection_.lock();
    return connection && !connection->closed() ? connection : nullptr;
  }

  template <class Task>
  void on_network(Task task) {
    asio::dispatch(io_, [self = shared_from_this(), task = std::move(task)]() mutable { task(); });
  }

  std::weak_ptr<Connection> connection_;
  asio::io_context& io_;
  const bool is_head_;
  bool started_ = false, streaming_ = false, chunked_ = false;
  std::function<void()> gone_;
};

Connection::Connection(ConnectionHost& host, std::unique_ptr<Transport> transport, std::string peer)
    : host_(host), transport_(std::move(transport)), peer_(std::move(peer)), since_(Clock::now()) {}

Connection::~Connection() = default;

void Connection::start() {
  transport_->handshake([self = shared_from_this()](error_code error) {
    if (error || self->closed_) return self->close();
    self->next_request();
  });
}

void Connection::turn_away() {
  phase_ = Phase::kServing;
  parser_ = std::make_unique<RequestParser>(HttpLimits{});
  refuse(503, "too many connections");
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  if (!reading_source_) source_ = nullptr;
  source_left_ = 0;
  if (exchange_) {
    exchange_->tell_gone();
    finish_exchange();
  }
  error_code ignored;
  transport_->socket().close(ignored);
}

void Connection::close_if_idle() {
  if (phase_ == Phase::kHandshake || (phase_ == Phase::kHead && between_requests_)) close();
}

void Connection::check(Clock::time_point now) {
  if (closed_) return;
  const HttpServerOptions& options = host_.options;
  if (!writing_.empty() && now - write_since_ > options.write_timeout) return close();
  if (close_when_written_) return;
  const auto waited = now - since_;
  switch (phase_) {
    case Phase::kHandshake:
      if (waited > options.header_timeout) close();
      break;
    case Phase::kHead:
      if (between_requests_ ? waited > options.idle_timeout : waited > options.header_timeout) {
        if (between_requests_) return close();
        refuse(408, "the headers took too long");
      }
      break;
    case Phase::kBody: {
      const double seconds = std::chrono::duration<double>(waited).count();
      if (seconds > 10 &&
          static_cast<double>(body_bytes_) < seconds * static_cast<double>(options.body_bytes_per_second)) {
        refuse(408, "the body came too slowly");
      }
      break;
    }
    case Phase::kServing:
      break;
  }
}

// Reads once, unless a read is under way, or more is waiting already than may.
void Connection::read() {
  if (reading_ || closed_ || half_closed_) return;
  if (phase_ == Phase::kServing && in_.size() >= kMostPipelined) return;
  const bool is_long = phase_ == Phase::kBody && parser_->content_length() > int64_t{kReadBytes};
  const size_t size = !is_long ? kReadBytes : sink_ ? kSourceBytes : kBodyReadBytes;
  if (read_buffer_.size() != size) {
    read_buffer_ = std::vector<char>(size);
  }
  reading_ = true;
  transport_->read_some(asio::buffer(read_buffer_),
                        [self = shared_from_this()](error_code error, size_t bytes) { self->on_read(error, bytes); });
}

void Connection::on_read(const error_code& error, size_t bytes) {
  reading_ = false;
  if (closed_) return;
  if (error) {
    half_closed_ = true;
    if (phase_ != Phase::kServing) return close();
    client_is_gone();
    if (error != asio::error::eof) close();  // after a FIN an answer may still be read; after a reset none
    return;
  }
  in_.append(read_buffer_.data(), bytes);
  if (phase_ == Phase::kBody) body_bytes_ += bytes;
  if (phase_ == Phase::kHead && between_requests_) {
    between_requests_ = false;
    since_ = Clock::now();
  }
  advance();
}

void Connection::client_is_gone() {
  keep_alive_ = false;
  if (exchange_) exchange_->tell_gone();
}

void Connection::next_request() {
  exchange_.reset();
  parser_ = std::make_unique<RequestParser>(HttpLimits{host_.options.header_bytes, 0});
  phase_ = Phase::kHead;
  between_requests_ = in_.empty();
  since_ = Clock::now();
  body_bytes_ = 0;
  if (between_requests_ && (host_.draining || half_closed_)) return close();
  advance();
}

void Connection::advance() {
  if (sinking_) return;
  while (!closed_ && !close_when_written_ && (phase_ == Phase::kHead || phase_ == Phase::kBody)) {
    // Empty lines before a request are allowed.
    if (phase_ == Phase::kHead && in_.starts_with("\r\n")) in_.erase(0, 2);
    const size_t used = in_.empty() ? 0 : parser_->put(in_);
    in_.erase(0, used);
    if (parser_->failed() != 0) return refuse(parser_->failed(), parser_->problem());
    if (!body_part_.empty()) return sink_body();
    if (phase_ == Phase::kHead) {
      if (!parser_->has_header()) break;
      if (!take_header()) return;
      phase_ = Phase::kBody;
      since_ = Clock::now();
      body_bytes_ = in_.size();
      if (!parser_->done() && !in_.empty()) continue;
    }
    if (parser_->done()) {
      serve();
      break;
    }
    if (used == 0 || in_.empty()) break;
  }
  read();
}

// Nothing more is read until the part is where it belongs, so a slow disk slows its client, and nobody else.
void Connection::sink_body() {
  sinking_ = true;
  host_.hooks.in_background([self = shared_from_this(), part = std::exchange(body_part_, {})]() mutable {
    const bool ok = self->sink_(part);
    asio::io_context& io = self->host_.io;
    asio::post(io, [self = std::move(self), ok] { self->on_sunk(ok); });
  });
}

void Connection::on_sunk(bool ok) {
  sinking_ = false;
  if (closed_) return;
  if (!ok) return refuse(500, "the body could not be written");
  advance();
}

// What the headers alone decide. False: it was answered.
bool Connection::take_header() {
  HttpRequest& request = parser_->request();
  request.id = host_.next_request_id++;
  request.peer = peer_;
  request.account = peer_.substr(0, peer_.rfind(':'));
  keep_alive_ = parser_->keep_alive() && !host_.draining;
  BodyRule rule = host_.hooks.on_header(request);
  if (rule.refuse) {
    if (parser_->has_body()) keep_alive_ = false;  // its body will not be read
    phase_ = Phase::kServing;
    exchange_ = std::make_shared<ConnectionExchange>(weak_from_this(), host_.io, std::move(request));
    exchange_->respond(std::move(*rule.refuse));
    return false;
  }
  if (parser_->has_body()) {
    sink_ = std::move(rule.sink);
    const auto collect = [this](std::string_view part) { return body_part_.append(part), true; };
    parser_->set_body(rule.limit_bytes, sink_ ? collect : RequestParser::BodySink());
    if (parser_->failed() != 0) {
      refuse(parser_->failed(), parser_->problem());
      return false;
    }
    if (parser_->expects_continue() && in_.empty()) send("HTTP/1.1 100 Continue\r\n\r\n");
  }
  return true;
}

void Connection::serve() {
  phase_ = Phase::kServing;
  exchange_ = std::make_shared<ConnectionExchange>(weak_from_this(), host_.io, std::move(parser_->request()));
  parser_.reset();
  if (read_buffer_.size() > kReadBytes && !reading_) read_buffer_ = {};
  host_.hooks.on_request(exchange_);
}

// An answer to what is not a request, or not one that is read to its end; then the connection closes.
void Connection::refuse(int status, const char* problem) {
  HttpRequest request = std::move(parser_->request());
  request.peer = peer_;
  phase_ = Phase::kServing;
  keep_alive_ = false;
  exchange_ = std::make_shared<ConnectionExchange>(weak_from_this(), host_.io, std::move(request));
  HttpResponse response{status, "application/json; charset=utf-8", fmt::format("{{\"error\":\"{}\"}}", problem), {}};
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  exchange_->respond(std::move(response));
}

void Connection::finish_exchange() {
  const auto exchange = std::exchange(exchange_, nullptr);
  if (!exchange) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - exchange->began).count();
  host_.hooks.on_done(
      {exchange->request(), exchange->status, sent_bytes_, seconds, exchange->complete, exchange->noted});
  exchange->detach();
  sent_bytes_ = 0;
  if (closed_) return;
  if (!keep_alive_) {
    close_when_written_ = true;
    if (out_.empty() && writing_.empty()) close();
    return;
  }
  // Not from within whoever answered: it may be deep in a handler.
  asio::post(host_.io, [self = shared_from_this()] {
    if (!self->closed_) self->next_request();
  });
}

void Connection::send_head(int status, const std::string& content_type, const Headers& headers, int64_t length) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nServer: carat\r\n", status, reason_phrase(status));
  if (!content_type.empty()) head += fmt::format("Content-Type: {}\r\n", content_type);
  for (const auto& [name, value] : headers) head += fmt::format("{}: {}\r\n", name, value);
  for (const auto& [name, value] : exchange_->request().reply_headers) head += fmt::format("{}: {}\r\n", name, value);
  if (length >= 0) {
    head += fmt::format("Content-Length: {}\r\n", length);
  } else if (!no_body_in(status)) {
    if (exchange_->request().http_1_0) {
      keep_alive_ = false;
    } else {
      head += "Transfer-Encoding: chunked\r\n";
    }
  }
  if (!keep_alive_) {
    head += "Connection: close\r\n";
  } else if (exchange_->request().http_1_0) {
    head += "Connection: keep-alive\r\n";
  }
  send(head + "\r\n");
}

void Connection::send(std::string bytes) {
  if (closed_) return;
  sent_bytes_ += bytes.size();
  if (out_.empty()) {
    out_ = std::move(bytes);
  } else {
    out_ += bytes;
  }
  flush();
}

void Connection::send_piece(std::string bytes) {
  send(std::move(bytes));
  if (out_.size() > host_.options.send_buffer_bytes) close();
}

void Connection::send_source(std::function<size_t(std::span<char>)> source, uint64_t bytes) {
  source_ = std::move(source);
  source_left_ = bytes;
  send_from_source();
}

// The next piece, once what was before it has been written.
void Connection::send_from_source() {
  if (closed_ || source_left_ == 0 || reading_source_ || !writing_.empty() || !out_.empty()) return;
  reading_source_ = true;
  host_.hooks.in_background([self = shared_from_this(),
                             want = std::min<uint64_t>(source_left_, kSourceBytes)]() mutable {
    std::string piece(want, '\0');
    piece.resize(self->source_(piece));
    asio::io_context& io = self->host_.io;
    asio::post(
        io, [self = std::move(self), piece = std::move(piece)]() mutable { self->on_source_read(std::move(piece)); });
  });
}

void Connection::on_source_read(std::string piece) {
  reading_source_ = false;
  if (closed_) {
    source_ = nullptr;
    return;
  }
  if (piece.empty()) return close();
  source_left_ -= piece.size();
  const bool is_last = source_left_ == 0;
  send(std::move(piece));
  if (!is_last || closed_ || !exchange_) return;
  source_ = nullptr;
  exchange_->complete = true;
  finish_exchange();
}

void Connection::abort_answer() {
  if (exchange_) exchange_->tell_gone();
}

void Connection::flush() {
  if (!writing_.empty() || out_.empty() || closed_) return;
  writing_ = std::exchange(out_, {});
  write_since_ = Clock::now();
  transport_->write_all(asio::buffer(writing_),
                        [self = shared_from_this()](error_code error, size_t) { self->on_written(error); });
}

void Connection::on_written(const error_code& error) {
  writing_ = {};
  if (closed_) return;
  if (error) return close();
  if (!out_.empty()) return flush();
  if (source_left_ > 0) return send_from_source();
  if (close_when_written_) {
    error_code ignored;
    transport_->socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    close();
  }
}

}  // namespace carat::server
