// What goes over the wire, byte for byte: JSON, frames, requests in any cut, routes, durations, hosts and origins.
#include <gtest/gtest.h>

#include "server/framing.h"
#include "server/gate.h"
#include "server/json_text.h"
#include "server/keep_alive.h"
#include "server/request_parser.h"
#include "server/router.h"

namespace carat::server {
namespace {

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

TEST(JsonText, Strings) {
  EXPECT_EQ(json_string("plain"), "\"plain\"");
  EXPECT_EQ(json_string("a\"b\\c\n\r\t"), "\"a\\\"b\\\\c\\n\\r\\t\"");
  EXPECT_EQ(json_string(std::string_view("\0\x1b\x7f", 3)), "\"\\u0000\\u001b\\u007f\"");
  EXPECT_EQ(json_string("gr\xC3\xBC\xC3\x9F \xF0\x9F\x99\x82"), "\"gr\xC3\xBC\xC3\x9F \xF0\x9F\x99\x82\"");
  EXPECT_EQ(json_string("a\xFF z"), "\"a\xEF\xBF\xBD z\"");
  EXPECT_EQ(json_string("\xC3"), "\"\xEF\xBF\xBD\"");
  EXPECT_EQ(json_string("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST(JsonText, Writer) {
  JsonWriter json;
  json.begin_object().field("a", 1).field("b", "x").key("c").begin_array().value(true).null().begin_object();
  json.end_object().end_array().field("d", 0.25).field("e", 1e-7f).null_field("f");
  const std::vector<int32_t> ids{3, -1};
  json.key("g").value(std::span<const int32_t>(ids)).field("h", uint64_t{18446744073709551615u}).end_object();
  EXPECT_EQ(json.text(),
            R"({"a":1,"b":"x","c":[true,null,{}],"d":0.25,"e":1e-07,"f":null,"g":[3,-1],"h":18446744073709551615})");
}

TEST(Framing, Bytes) {
  EXPECT_EQ(ndjson_line("{}"), "{}\n");
  EXPECT_EQ(sse_data("{}"), "data: {}\n\n");
  EXPECT_EQ(sse_event("message_stop", "{}"), "event: message_stop\ndata: {}\n\n");
  EXPECT_EQ(kSseDone, "data: [DONE]\n\n");
}

constexpr std::string_view kPost =
    "POST /api/x%20y?q=1 HTTP/1.1\r\nHost: localhost\r\nX-Odd:  spaces \r\nContent-Length: 5\r\n\r\nhelloGET";

void read_all(RequestParser& parser, std::string_view bytes, size_t step) {
  std::string held;
  for (size_t at = 0; at < bytes.size() && !parser.done() && parser.failed() == 0; at += step) {
    held += bytes.substr(at, step);
    while (!held.empty()) {
      const bool had_header = parser.has_header();
      const size_t used = parser.put(held);
      held.erase(0, used);
      if (!had_header && parser.has_header()) parser.set_body(100, nullptr);
      if (used == 0) break;
    }
  }
}

TEST(RequestParser, TheSameInAnyCut) {
  for (const size_t step : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{1000}}) {
    RequestParser parser({});
    read_all(parser, kPost, step);
    ASSERT_TRUE(parser.done()) << step;
    const HttpRequest& request = parser.request();
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path, "/api/x y");
    EXPECT_EQ(request.target, "/api/x%20y?q=1");
    EXPECT_EQ(request.header("x-odd"), "spaces");
    EXPECT_EQ(request.header("absent"), "");
    EXPECT_EQ(request.body, "hello");
    EXPECT_TRUE(parser.keep_alive());
  }
}

TEST(RequestParser, BodiesGoToTheirSink) {
  RequestParser parser({});
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  ASSERT_EQ(parser.put(head), head.size());
  std::string got;
  parser.set_body(8, [&](std::string_view part) { return got += part, true; });
  std::string rest = "3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n";
  while (!rest.empty() && !parser.done()) rest.erase(0, parser.put(rest));
  EXPECT_TRUE(parser.done());
  EXPECT_EQ(got, "abcdefgh");
  EXPECT_EQ(parser.request().body, "");
}

TEST(Router, MethodsAndStars) {
  Router router;
  const auto nothing = [](App&, const ExchangePtr&) {};
  router.add({"GET", "/a", nothing, true});
  router.add({"POST", "/a", nothing});
  router.add({"GET", "/m/*", nothing});
  router.add({"POST", "/m/special", nothing});
  EXPECT_EQ(router.find("GET", "/a").route->method, "GET");
  EXPECT_EQ(router.find("HEAD", "/a").route->method, "GET");
  EXPECT_EQ(router.find("PUT", "/a").route, nullptr);
  EXPECT_EQ(router.find("PUT", "/a").allow, "HEAD, GET, POST");
  EXPECT_EQ(router.find("GET", "/m/org/name").route->path, "/m/*");
  EXPECT_EQ(router.find("HEAD", "/m/x").route, nullptr);
  EXPECT_EQ(router.find("GET", "/m/").allow, "");
  EXPECT_EQ(router.find("GET", "/m/special").allow, "POST");
  EXPECT_EQ(router.find("GET", "/nope").allow, "");
}

TEST(KeepAlive, GoDurations) {
  using std::chrono::milliseconds;
  EXPECT_EQ(parse_duration("5m").value(), milliseconds(300'000));
  EXPECT_EQ(parse_duration("1h30m").value(), milliseconds(5'400'000));
  EXPECT_EQ(parse_duration("1.5s").value(), milliseconds(1500));
  EXPECT_EQ(parse_duration("300ms").value(), milliseconds(300));
  EXPECT_EQ(parse_duration("0").value(), milliseconds(0));
  EXPECT_EQ(parse_duration("-1s").value(), kForever);
  EXPECT_EQ(parse_duration("soon").error().message, "time: invalid duration \"soon\"");
  EXPECT_EQ(parse_duration("").error().message, "time: invalid duration \"\"");
  EXPECT_EQ(parse_duration("10").error().message, "time: missing unit in duration \"10\"");
  EXPECT_EQ(parse_duration("10x").error().message, "time: unknown unit in duration \"10x\"");
  EXPECT_EQ(keep_alive_of_seconds(2.5), milliseconds(2500));
  EXPECT_EQ(keep_alive_of_seconds(-1), kForever);
  EXPECT_EQ(keep_alive_of_seconds(1e300), kForever);
}

TEST(ApiKeys, DigestsAndPlainOnes) {
  ApiKeys keys;
  EXPECT_TRUE(keys.empty());
  keys.add("one");
  keys.add(sha256("two").text());
  EXPECT_TRUE(keys.check("one"));
  EXPECT_TRUE(keys.check("two"));
  EXPECT_FALSE(keys.check(""));
  EXPECT_FALSE(keys.check("on"));
  EXPECT_FALSE(keys.check(sha256("two").text()));
}

TEST(Loopback, NamesAndAddresses) {
  for (const char* host : {"localhost", "127.0.0.1", "127.1.2.3", "::1", "LOCALHOST"})
    EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "192.168.0.1", "127.evil.example", "example"})
    EXPECT_FALSE(is_loopback(host)) << host;
}

}  // namespace
}  // namespace carat::server
