#include "server/media.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/files.h"
#include "base/printable.h"

namespace carat::server {
namespace {

Error refused(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

struct Block {
  uint32_t network;
  int bits;
};

// RFC 6890 and the multicast and reserved ranges.
constexpr std::array<Block, 15> kNotPublic{{{0x00000000, 8},
                                            {0x0A000000, 8},
                                            {0x64400000, 10},
                                            {0x7F000000, 8},
                                            {0xA9FE0000, 16},
                                            {0xAC100000, 12},
                                            {0xC0000000, 24},
                                            {0xC0000200, 24},
                                            {0xC0586300, 24},
                                            {0xC0A80000, 16},
                                            {0xC6120000, 15},
                                            {0xC6336400, 24},
                                            {0xCB007100, 24},
                                            {0xE0000000, 4},
                                            {0xF0000000, 4}}};

bool is_public_v4(uint32_t address) {
  return std::none_of(kNotPublic.begin(), kNotPublic.end(),
                      [&](const Block& block) { return (address ^ block.network) >> (32 - block.bits) == 0; });
}

// Global unicast, without the blocks that carry an IPv4 address inside (Teredo, 6to4) or are for documents.
bool is_public_v6(const uint8_t* a) {
  const bool global = (a[0] & 0xE0) == 0x20;
  const bool special = (a[0] == 0x20 && a[1] == 0x01 && a[2] < 0x02) ||
                       (a[0] == 0x20 && a[1] == 0x01 && a[2] == 0x0D && a[3] == 0xB8) || (a[0] == 0x20 && a[1] == 0x02);
  return global && !special;
}

bool is_public(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, address, sizeof v4);
    return is_public_v4(ntohl(v4.sin_addr.s_addr));
  }
  if (address->sa_family != AF_INET6) return false;
  sockaddr_in6 v6;
  std::memcpy(&v6, address, sizeof v6);
  return is_public_v6(v6.sin6_addr.s6_addr);
}

struct Fetch {
  const MediaOptions& options;
  std::vector<uint8_t> bytes;
  bool too_long = false, private_address = false;
};

// The one place where a connection begins: what a name resolved to is looked at here, and connected to as it is.
curl_socket_t on_socket(void* user, curlsocktype, curl_sockaddr* address) {
  auto& fetch = *static_cast<Fetch*>(user);
  if (!fetch.options.any_address && !is_public(&address->addr)) {
    fetch.private_address = true;
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

size_t on_body(const char* data, size_t size, size_t count, void* user) {
  auto& fetch = *static_cast<Fetch*>(user);
  const size_t length = size * count;
  if (fetch.bytes.size() + length > fetch.options.most_bytes) {
    fetch.too_long = true;
    return 0;
  }
  fetch.bytes.insert(fetch.bytes.end(), data, data + length);
  return length;
}

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

std::string part_of(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return {};
  std::string out(text);
  curl_free(text);
  return out;
}

Result<std::vector<uint8_t>> fetch_http(const MediaOptions& options, CURLU* url, const std::string& host) {
  if (std::find(options.domains.begin(), options.domains.end(), host) == options.domains.end()) {
    return refused(
        fmt::format("pictures are not fetched from {}: --allowed-media-domains does not name it", escaped(host)));
  }
  if (!part_of(url, CURLUPART_USER).empty() || !part_of(url, CURLUPART_PASSWORD).empty()) {
    return refused("the URL of a picture holds a name or a password");
  }
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, FreeEasy> easy(once == CURLE_OK ? curl_easy_init() : nullptr);
  if (!easy) return Error{ErrorCode::kOutOfMemory, "no memory to fetch a picture"};
  Fetch fetch{options, {}};
  CURL* curl = easy.get();
  curl_easy_setopt(curl, CURLOPT_CURLU, url);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(options.timeout.count()));
  curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(options.most_bytes));
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "carat");
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_socket);
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, &fetch);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &fetch);
  const CURLcode code = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  if (fetch.private_address) return refused(fmt::format("{} is not on the public internet", escaped(host)));
  if (fetch.too_long || code == CURLE_FILESIZE_EXCEEDED) {
    return refused(fmt::format("the picture at {} has more than {} bytes", escaped(host), options.most_bytes));
  }
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return refused(
        fmt::format("{} did not send the picture within {} s", escaped(host), options.timeout.count() / 1000));
  }
  if (code != CURLE_OK) return refused(fmt::format("the picture could not be fetched from {}", escaped(host)));
  if (status != 200) return refused(fmt::format("{} answered {} for the picture", escaped(host), status));
  return std::move(fetch.bytes);
}

struct FreeText {
  void operator()(char* text) const { std::free(text); }  // NOLINT(cppcoreguidelines-no-malloc): realpath's
};

std::string real_path(const std::string& path) {
  const std::unique_ptr<char, FreeText> real(::realpath(path.c_str(), nullptr));
  return real ? std::string(real.get()) : std::string();
}

Result<std::vector<uint8_t>> read_local(const MediaOptions& options, const std::string& path) {
  if (options.local_path.empty()) {
    return refused("file:// URLs are not read: --allowed-local-media-path does not name a folder");
  }
  const std::string root = real_path(options.local_path), real = real_path(path);
  const std::string below = root.ends_with('/') ? root : root + "/";
  if (root.empty() || !real.starts_with(below)) {
    return refused("there is no such file below --allowed-local-media-path");
  }
  const auto text = read_file(real, options.most_bytes, O_NOFOLLOW);
  if (!text.ok()) return refused("the file of the picture cannot be read");
  return std::vector<uint8_t>(text->begin(), text->end());
}

}  // namespace

bool is_public_address(const std::string& address) {
  in_addr v4{};
  in6_addr v6{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return is_public_v4(ntohl(v4.s_addr));
  return inet_pton(AF_INET6, address.c_str(), &v6) == 1 && is_public_v6(v6.s6_addr);
}

Result<std::vector<uint8_t>> fetch_media(const MediaOptions& options, const std::string& url) {
  const Url parsed(curl_url());
  if (!parsed) return Error{ErrorCode::kOutOfMemory, "no memory to fetch a picture"};
  const Error unknown = refused("the URL of a picture: expected data:image/...;base64, http, https or file");
  if (url.find('\0') != std::string::npos ||
      curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return unknown;
  }
  const std::string scheme = part_of(parsed.get(), CURLUPART_SCHEME);
  if (scheme == "file") return read_local(options, part_of(parsed.get(), CURLUPART_PATH, CURLU_URLDECODE));
  if (scheme != "http" && scheme != "https") return unknown;
  std::string host = part_of(parsed.get(), CURLUPART_HOST);
  std::transform(host.begin(), host.end(), host.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return fetch_http(options, parsed.get(), host);
}

}  // namespace carat::server
