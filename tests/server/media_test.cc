// What a request may make the server fetch: pictures of hosts that were named, from the public internet, and nothing else.
#include "server/media.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "server/base64.h"
#include "server/picture_source.h"

namespace carat::server {
namespace {

// Answers one connection on the loopback with these bytes, and waits after them for `silence`.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer, std::chrono::milliseconds silence = {})
      : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, answer = std::move(answer), silence] {
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      char request[4096];
      if (::recv(connection, request, sizeof request, 0) > 0) asked_ = true;
      if (::send(connection, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) asked_ = false;
      std::this_thread::sleep_for(silence);
      ::close(connection);
    });
  }
  ~OneAnswer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  std::string url(const std::string& host = "127.0.0.1") const {
    return "http://" + host + ":" + std::to_string(port_) + "/cat.jpg";
  }
  bool was_asked() const { return asked_; }

 private:
  int listener_;
  int port_ = 0;
  std::atomic<bool> asked_{false};
  std::thread thread_;
};

MediaOptions loopback() {
  MediaOptions options;
  options.domains = {"127.0.0.1", "localhost"};
  options.any_address = true;
  options.most_bytes = 1000;
  options.timeout = std::chrono::milliseconds(1500);
  return options;
}

std::string error_of(const MediaOptions& options, const std::string& url) {
  const auto bytes = fetch_media(options, url);
  if (bytes.ok()) return "it was fetched";
  EXPECT_EQ(bytes.error().code, ErrorCode::kInvalidArgument);
  return bytes.error().message;
}

TEST(Media, BytesComeFromANamedHost) {
  const OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  const auto bytes = fetch_media(loopback(), server.url());
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  EXPECT_EQ(std::string(bytes->begin(), bytes->end()), "hello");
}

TEST(Media, NobodyElseIsAsked) {
  const OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  MediaOptions options = loopback();
  options.domains = {"example.com"};
  EXPECT_EQ(error_of(options, server.url()),
            "pictures are not fetched from 127.0.0.1: --allowed-media-domains does not "
            "name it");
  EXPECT_EQ(error_of(MediaOptions(), server.url()),
            "pictures are not fetched from 127.0.0.1: --allowed-media-domains "
            "does not name it");
  options = loopback();
  options.any_address = false;
  for (const char* host : {"127.0.0.1", "localhost"}) {
    EXPECT_EQ(error_of(options, server.url(host)), std::string(host) + " is not on the public internet");
  }
  EXPECT_EQ(error_of(loopback(), "http://user:word@127.0.0.1/x"), "the URL of a picture holds a name or a password");
  EXPECT_FALSE(server.was_asked());
}

TEST(Media, RedirectsAreNotFollowedAndFailuresSayLittle) {
  {
    const OneAnswer server("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/secret\r\nContent-Length: 0\r\n\r\n");
    EXPECT_EQ(error_of(loopback(), server.url()), "127.0.0.1 answered 302 for the picture");
  }
  {
    const OneAnswer server("HTTP/1.1 200 OK\r\n\r\n" + std::string(2000, 'x'));
    EXPECT_EQ(error_of(loopback(), server.url()), "the picture at 127.0.0.1 has more than 1000 bytes");
  }
  {
    const OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\nx");
    EXPECT_EQ(error_of(loopback(), server.url()), "the picture at 127.0.0.1 has more than 1000 bytes");
  }
  {
    const OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx", std::chrono::milliseconds(2500));
    EXPECT_EQ(error_of(loopback(), server.url()), "127.0.0.1 did not send the picture within 1 s");
  }
}

TEST(Media, OtherSchemesAreNone) {
  const std::string expected = "the URL of a picture: expected data:image/...;base64, http, https or file";
  for (const char* url : {"ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "", "cat.jpg", "://", "javascript:1"}) {
    const std::string error = error_of(loopback(), url);
    EXPECT_TRUE(error == expected) << url << ": " << error;
  }
}

TEST(Media, FilesOnlyBelowTheFolder) {
  namespace fs = std::filesystem;
  const fs::path root = fs::path(testing::TempDir()) / "carat-media";
  fs::remove_all(root);
  fs::create_directories(root / "pictures");
  std::ofstream(root / "pictures/a b.png") << "inside";
  std::ofstream(root / "secret.png") << "outside";
  fs::create_symlink(root / "secret.png", root / "pictures/link.png");
  MediaOptions options;
  const auto url = [&](const std::string& tail) { return "file://" + root.string() + "/" + tail; };
  EXPECT_EQ(error_of(options, url("pictures/a%20b.png")),
            "file:// URLs are not read: --allowed-local-media-path does not name a folder");
  options.local_path = (root / "pictures").string();
  const auto inside = fetch_media(options, url("pictures/a%20b.png"));
  ASSERT_TRUE(inside.ok()) << inside.error().message;
  EXPECT_EQ(std::string(inside->begin(), inside->end()), "inside");
  for (const char* tail : {"secret.png", "pictures/../secret.png", "pictures/%2e%2e/secret.png", "pictures/link.png",
                           "pictures/none.png", "pictures"}) {
    EXPECT_EQ(error_of(options, url(tail)), "there is no such file below --allowed-local-media-path") << tail;
  }
  fs::remove_all(root);
}

TEST(Media, PublicAddresses) {
  for (const char* address : {"8.8.8.8", "1.1.1.1", "192.0.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"}) {
    EXPECT_TRUE(is_public_address(address)) << address;
  }
  for (const char* address : {"0.0.0.0",
                              "10.1.2.3",
                              "100.64.0.1",
                              "127.0.0.1",
                              "169.254.169.254",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.168.1.1",
                              "198.18.0.1",
                              "224.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "::ffff:8.8.8.8",
                              "fe80::1",
                              "fc00::1",
                              "64:ff9b::a00:1",
                              "2002:a00:1::",
                              "2001::1",
                              "2001:db8::1",
                              "ff02::1",
                              "no address"}) {
    EXPECT_FALSE(is_public_address(address)) << address;
  }
}

TEST(Base64, EveryLengthAndWhatIsNone) {
  const auto text = [](std::string_view base64) -> std::string {
    const auto bytes = from_base64(base64);
    return bytes ? std::string(bytes->begin(), bytes->end()) : "none";
  };
  EXPECT_EQ(text(""), "");
  EXPECT_EQ(text("YQ=="), "a");
  EXPECT_EQ(text("YWI="), "ab");
  EXPECT_EQ(text("YWJj"), "abc");
  EXPECT_EQ(text("YWJjZA"), "abcd");
  EXPECT_EQ(text("YWJj\r\nZA=="), "abcd");
  EXPECT_EQ(text("_-8="), text("/+8="));
  for (const char* wrong : {"Y", "YQ=", "YQ===", "YQ==YQ==", "Y Q=", "Yu\xC3\xA4", "YWJj="})
    EXPECT_EQ(text(wrong), "none") << wrong;
}

TEST(PictureSource, DataUris) {
  const auto bytes = picture_of_url("data:image/png;base64,YWJj");
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(bytes->bytes, (std::vector<uint8_t>{'a', 'b', 'c'}));
  EXPECT_FALSE(picture_of_url("data:image/png,abc").ok());
  EXPECT_FALSE(picture_of_url("data:image/png;base64").ok());
  EXPECT_EQ(picture_of_url("http://x/y")->url, "http://x/y");
}

}  // namespace
}  // namespace carat::server
