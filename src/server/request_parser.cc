#include "server/request_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>
#include <limits>

namespace carat::server {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

class RequestParser::Impl final : public http::basic_parser<true> {
 public:
  explicit Impl(const HttpLimits& limits) : header_limit_(limits.header_bytes), body_limit_bytes_(limits.body_bytes) {
    header_limit(static_cast<uint32_t>(limits.header_bytes));
    body_limit((std::numeric_limits<uint64_t>::max)());  // the limit is ours: it depends on the path
    eager(false);
  }

  void fail(int status, const char* problem) {
    if (status_ == 0) status_ = status, problem_ = problem;
  }

  HttpRequest request;
  BodySink sink;
  size_t header_limit_, body_limit_bytes_;
  size_t header_bytes_ = 0, body_bytes_ = 0;
  int64_t announced_ = -1;
  int status_ = 0;
  const char* problem_ = "";
  bool expects_continue_ = false;

 private:
  void on_request_impl(http::verb, string_view method, string_view target, int version, error_code& ec) override {
    request.method.assign(method.data(), method.size());
    request.target.assign(target.data(), target.size());
    request.http_1_0 = version == 10;
    if (version != 10 && version != 11) {
      fail(505, "HTTP/1.1 is spoken here");
      ec = http::error::bad_version;
    } else if (!decode_path(request.target, request.path)) {
      fail(400, "a broken escape in the path");
      ec = http::error::bad_target;
    }
  }

  void on_response_impl(int, string_view, int, error_code&) override {}

  void on_field_impl(http::field field, string_view name, string_view value, error_code& ec) override {
    std::string lower(name.data(), name.size());
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
    });
    if (field == http::field::expect) {
      if (value.size() == 12 && boost::beast::iequals(value, "100-continue")) {
        expects_continue_ = true;
      } else {
        fail(417, "only Expect: 100-continue is known");
        ec = http::error::bad_value;
      }
    }
    if (lower == "host" && !request.header("host").empty()) {
      fail(400, "more than one Host");
      ec = http::error::bad_field;
    }
    request.headers.emplace_back(std::move(lower), std::string(value.data(), value.size()));
  }

  void on_header_impl(error_code& ec) override {
    if (!request.http_1_0 && request.header("host").empty()) {
      fail(400, "no Host header");
      ec = http::error::bad_field;
    }
    if (!request.header("transfer-encoding").empty() && !chunked()) {
      fail(400, "of transfer encodings only chunked is known");
      ec = http::error::bad_transfer_encoding;
    }
  }

  void on_body_init_impl(const boost::optional<uint64_t>& length, error_code&) override {
    if (length) announced_ = static_cast<int64_t>(std::min<uint64_t>(*length, INT64_MAX));
  }

  size_t take(string_view body, error_code& ec) {
    if (body.size() > body_limit_bytes_ - body_bytes_) {
      fail(413, "the body is too large");
      ec = http::error::body_limit;
      return 0;
    }
    body_bytes_ += body.size();
    if (!sink) {
      request.body.append(body.data(), body.size());
    } else if (!sink(std::string_view(body.data(), body.size()))) {
      fail(400, "the body was refused");
      ec = http::error::body_limit;
    }
    return body.size();
  }

  size_t on_body_impl(string_view body, error_code& ec) override { return take(body, ec); }
  void on_chunk_header_impl(uint64_t size, string_view extensions, error_code& ec) override {
    if (extensions.size() > header_limit_ || size > body_limit_bytes_ - body_bytes_) {
      fail(413, "the body is too large");
      ec = http::error::body_limit;
    }
  }
  size_t on_chunk_body_impl(uint64_t, string_view body, error_code& ec) override { return take(body, ec); }
  void on_finish_impl(error_code&) override {}
};

RequestParser::RequestParser(const HttpLimits& limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestParser::~RequestParser() = default;

namespace {

// A header that goes on in the next line. Beast reads it as one, others as two.
bool has_folded_header(std::string_view bytes) {
  const std::string_view headers = bytes.substr(0, bytes.find("\r\n\r\n"));
  return headers.find("\n ") != std::string_view::npos || headers.find("\n\t") != std::string_view::npos;
}

}  // namespace

size_t RequestParser::put(std::string_view bytes) {
  if (impl_->status_ != 0 || impl_->is_done()) return 0;
  if (!impl_->is_header_done() && has_folded_header(bytes)) {
    impl_->fail(400, "a header of several lines");
    return 0;
  }
  size_t used = 0;
  while (used < bytes.size() || impl_->is_header_done()) {
    const bool had_header = impl_->is_header_done();
    error_code ec;
    const size_t n = impl_->put(asio::const_buffer(bytes.data() + used, bytes.size() - used), ec);
    used += n;
    if (!had_header) {
      impl_->header_bytes_ += n;
      if (impl_->header_bytes_ > impl_->header_limit_) {
        impl_->fail(431, "the headers are too long");
        return used;
      }
    }
    if (ec && ec != http::error::need_more) {
      const bool too_long = ec == http::error::header_limit;
      impl_->fail(too_long ? 431 : 400, too_long ? "the headers are too long" : "not an HTTP/1.1 request");
      return used;
    }
    if (impl_->is_done() || (!had_header && impl_->is_header_done())) return used;
    if (ec == http::error::need_more || n == 0) break;
  }
  if (bytes.size() - used > impl_->header_limit_) {  // nothing but a line can be so long and not complete
    const bool is_chunk = impl_->is_header_done();
    impl_->fail(is_chunk ? 400 : 431, is_chunk ? "the line of a chunk is too long" : "the headers are too long");
  }
  return used;
}

bool RequestParser::has_header() const { return impl_->is_header_done(); }
bool RequestParser::done() const { return impl_->is_done(); }
int RequestParser::failed() const { return impl_->status_; }
const char* RequestParser::problem() const { return impl_->problem_; }
bool RequestParser::keep_alive() const { return impl_->keep_alive(); }
bool RequestParser::expects_continue() const { return impl_->expects_continue_; }
int64_t RequestParser::content_length() const {
  const auto length = impl_->content_length();
  return length ? static_cast<int64_t>(std::min<uint64_t>(*length, INT64_MAX)) : -1;
}
bool RequestParser::has_body() const { return impl_->chunked() || content_length() > 0; }

void RequestParser::set_body(size_t limit_bytes, BodySink sink) {
  impl_->body_limit_bytes_ = limit_bytes;
  impl_->sink = std::move(sink);
  impl_->eager(true);
  if (content_length() > static_cast<int64_t>(limit_bytes)) impl_->fail(413, "the body is too large");
}

HttpRequest& RequestParser::request() { return impl_->request; }

}  // namespace carat::server
