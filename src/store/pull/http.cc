// libcurl does connections, TLS, proxies and HTTP; redirects are ours, because what may go where is a matter of trust.
#include "store/pull/http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <ctime>

#include "base/printable.h"
#include "store/model_name.h"

namespace carat {
namespace {

constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr int kMaxRedirects = 10;
constexpr long kBufferBytes = 512 << 10;
constexpr uint64_t kAskFirstBytes = 1 << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == '\n' || text.back() == ' ' || text.back() == '\t'))
    text.remove_suffix(1);
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  return text;
}

std::string url_part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK || text == nullptr) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

Url parse_url(const std::string& text) {
  Url url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) return nullptr;
  const std::string scheme = url_part(url.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return nullptr;
  return url;
}

Error network(std::string_view url, std::string_view why) {
  return Error{ErrorCode::kNetwork, fmt::format("{}: {}", escaped(origin_of(url)), why)};
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

CURL* easy_of(void* pointer) { return static_cast<CURL*>(pointer); }
CURLM* multi_of(void* pointer) { return static_cast<CURLM*>(pointer); }

// Seconds, or a date.
std::optional<int64_t> retry_after_ms(const HttpHead* head) {
  const std::string* text = head == nullptr ? nullptr : head->find("retry-after");
  if (text == nullptr) return std::nullopt;
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), seconds);
  if (error == std::errc() && end == text->data() + text->size()) return std::clamp<int64_t>(seconds, 0, 86400) * 1000;
  const std::time_t date = curl_getdate(text->c_str(), nullptr);
  if (date < 0) return std::nullopt;
  return std::clamp<int64_t>(date - std::time(nullptr), 0, 86400) * 1000;
}

// The four bytes of an IPv4 address, or of one inside an IPv6 address (::ffff:10.0.0.1).
std::optional<uint32_t> ipv4_of(const std::string& address) {
  in_addr four{};
  if (::inet_pton(AF_INET, address.c_str(), &four) == 1) return ntohl(four.s_addr);
  in6_addr six{};
  if (::inet_pton(AF_INET6, address.c_str(), &six) != 1 || !IN6_IS_ADDR_V4MAPPED(&six)) return std::nullopt;
  uint32_t last = 0;
  std::memcpy(&last, &six.s6_addr[12], 4);
  return ntohl(last);
}

}  // namespace

const std::string* HttpHead::find(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? nullptr : &found->second;
}

std::optional<uint64_t> HttpHead::number(const std::string& name) const {
  const std::string* text = find(name);
  if (text == nullptr) return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

std::string origin_of(std::string_view text) {
  const Url url = parse_url(std::string(text));
  if (!url) return {};
  return lower(fmt::format("{}://{}:{}", url_part(url.get(), CURLUPART_SCHEME), url_part(url.get(), CURLUPART_HOST),
                           url_part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT)));
}

std::string resolve_url(const std::string& base, const std::string& relative) {
  Url url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK) return {};
  if (curl_url_set(url.get(), CURLUPART_URL, relative.c_str(), 0) != CURLUE_OK) return {};
  const std::string whole = url_part(url.get(), CURLUPART_URL);
  return parse_url(whole) ? whole : std::string();
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~' || c == '/';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

bool is_busy(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

bool is_link_local_address(std::string_view text) {
  const std::string address(text);
  if (const auto four = ipv4_of(address)) return *four >> 16 == 0xa9fe;  // 169.254/16
  in6_addr six{};
  return ::inet_pton(AF_INET6, address.c_str(), &six) == 1 && IN6_IS_ADDR_LINKLOCAL(&six);
}

bool is_private_address(std::string_view text) {
  const std::string address(text);
  if (is_link_local_address(text)) return true;
  if (const auto four = ipv4_of(address)) {
    return *four >> 24 == 10 || *four >> 24 == 127 || *four >> 24 == 0 || *four >> 20 == 0xac1 ||
           *four >> 16 == 0xc0a8 || *four >> 22 == 0x191;  // 10/8 127/8 0/8 172.16/12 192.168/16 100.64/10
  }
  in6_addr six{};
  if (::inet_pton(AF_INET6, address.c_str(), &six) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&six) || IN6_IS_ADDR_UNSPECIFIED(&six) || (six.s6_addr[0] & 0xfe) == 0xfc;
}

// What libcurl calls. Each has the transfer as its last argument.
struct HttpTransfer::Callbacks {
  static size_t header(const char* data, size_t, size_t size, void* user) {
    auto& transfer = *static_cast<HttpTransfer*>(user);
    std::string_view line(data, size);
    transfer.header_bytes_ += size;
    if (transfer.header_bytes_ > kMaxHeaderBytes) {
      transfer.status_ = network(transfer.request_.url, "its headers do not end");
      return 0;
    }
    if (line.substr(0, 5) == "HTTP/") {  // a new head: after "100 Continue", or a proxy's
      transfer.head_.headers.clear();
      return size;
    }
    line = trimmed(line);
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      transfer.head_.headers.emplace(lower(line.substr(0, colon)), std::string(trimmed(line.substr(colon + 1))));
    }
    return size;
  }

  // Tells the head once it is known to be the last one; false if the transfer ends here.
  static bool tell_head(HttpTransfer& transfer) {
    if (transfer.head_told_) return true;
    transfer.head_told_ = true;
    long status = 0;
    curl_easy_getinfo(easy_of(transfer.easy_), CURLINFO_RESPONSE_CODE, &status);
    transfer.head_.status = static_cast<int>(status);
    transfer.head_.url = transfer.request_.url;
    const char* address = nullptr;
    curl_easy_getinfo(easy_of(transfer.easy_), CURLINFO_PRIMARY_IP, &address);
    if (transfer.redirects_ == 0 && address != nullptr) transfer.first_is_private_ = is_private_address(address);
    if (is_redirect(transfer.head_.status) || !transfer.on_head_) return true;
    transfer.status_ = transfer.on_head_(transfer.head_);
    return transfer.status_.ok();
  }

  static size_t body(const char* data, size_t, size_t size, void* user) {
    auto& transfer = *static_cast<HttpTransfer*>(user);
    if (!tell_head(transfer)) return 0;
    if (is_redirect(transfer.head_.status)) {  // nobody reads a redirect's page, but a short one keeps the connection
      transfer.header_bytes_ += size;
      return transfer.header_bytes_ > kMaxHeaderBytes ? 0 : size;
    }
    if (!transfer.on_body_) return size;
    transfer.status_ = transfer.on_body_({reinterpret_cast<const std::byte*>(data), size});
    return transfer.status_.ok() ? size : 0;
  }

  static size_t upload(char* buffer, size_t, size_t size, void* user) {
    auto& transfer = *static_cast<HttpTransfer*>(user);
    const uint64_t at = transfer.uploaded_bytes_;
    if (at == transfer.request_.upload_bytes) return 0;
    size = std::min<uint64_t>(size, transfer.request_.upload_bytes - at);
    const size_t got = transfer.request_.read_upload(at, {reinterpret_cast<std::byte*>(buffer), size});
    transfer.uploaded_bytes_ += got;
    return got == 0 ? CURL_READFUNC_ABORT : got;
  }

  // The address that a redirect leads to, before anything is sent there. Behind a proxy it is the proxy's.
  static curl_socket_t open_socket(void* user, curlsocktype, curl_sockaddr* to) {
    auto& transfer = *static_cast<HttpTransfer*>(user);
    char text[INET6_ADDRSTRLEN] = "";
    if (to->family == AF_INET) {
      ::inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(&to->addr)->sin_addr, text, sizeof text);
    } else if (to->family == AF_INET6) {
      ::inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6*>(&to->addr)->sin6_addr, text, sizeof text);
    }
    const bool is_refused = is_link_local_address(text) || (is_private_address(text) && !transfer.first_is_private_);
    if (transfer.redirects_ > 0 && is_refused) {
      transfer.status_ = network(transfer.request_.url,
                                 fmt::format("a redirect leads to the private address {}; it is not followed", text));
      return CURL_SOCKET_BAD;
    }
    return ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
  }
};

HttpTransfer::~HttpTransfer() {
  curl_multi_remove_handle(multi_of(client_->multi_), easy_of(easy_));
  curl_easy_cleanup(easy_of(easy_));
  curl_slist_free_all(static_cast<curl_slist*>(header_list_));
}

Status HttpTransfer::arm() {
  CURL* easy = easy_of(easy_);
  const HttpSettings& settings = client_->settings();
  const Url url = parse_url(request_.url);
  if (!url) return Error{ErrorCode::kNetwork, fmt::format("'{}' is no http or https address", escaped(request_.url))};
  if (url_part(url.get(), CURLUPART_SCHEME) == "http" && !settings.plain_http) {
    return network(request_.url,
                   "it asks for plain http, which anybody on the way can read and change; --insecure allows it");
  }
  if (first_origin_.empty()) first_origin_ = origin_of(request_.url);
  head_ = {};
  head_told_ = false;
  header_bytes_ = 0;

  curl_easy_reset(easy);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, this);
  curl_easy_setopt(easy, CURLOPT_URL, request_.url.c_str());
#if LIBCURL_VERSION_NUM >= 0x075500
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_ms));
  const auto stall_seconds = std::max<int64_t>(settings.stall_ms / 1000, 1);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall_seconds));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT,
                   static_cast<long>(std::max<int64_t>(settings.stall_bytes / stall_seconds, 1)));
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kBufferBytes);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "carat/0.1");
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, Callbacks::header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, Callbacks::body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, Callbacks::open_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, this);
  // A registry in this machine is never asked through a proxy; NO_PROXY says what else is not.
  const std::string host = url_part(url.get(), CURLUPART_HOST);
  if (host == "localhost" || host.rfind("127.", 0) == 0 || host == "[::1]") {
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  }

  if (request_.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request_.method != "GET") {
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
    if (request_.read_upload) {
      curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
      curl_easy_setopt(easy, CURLOPT_READFUNCTION, Callbacks::upload);
      curl_easy_setopt(easy, CURLOPT_READDATA, this);
      curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request_.upload_bytes));
      curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, kBufferBytes);
    } else {
      curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request_.body.data());
      curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    }
  }
  curl_slist_free_all(static_cast<curl_slist*>(header_list_));
  curl_slist* list = curl_slist_append(nullptr, "Accept-Encoding: identity");  // what is hashed is what is sent
  // A large part is sent once the server said that it wants it here; otherwise nobody waits for that.
  if (request_.upload_bytes < kAskFirstBytes) list = curl_slist_append(list, "Expect:");
  if (request_.upload_bytes >= kAskFirstBytes) list = curl_slist_append(list, "Expect: 100-continue");
  for (const std::string& header : request_.headers) list = curl_slist_append(list, header.c_str());
  if (!request_.authorization.empty() && origin_of(request_.url) == first_origin_) {
    list = curl_slist_append(list, ("Authorization: " + request_.authorization).c_str());
  }
  header_list_ = list;
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
  curl_multi_add_handle(multi_of(client_->multi_), easy);
  return {};
}

Status HttpTransfer::follow() {
  if (++redirects_ > kMaxRedirects) return network(request_.url, fmt::format("more than {} redirects", kMaxRedirects));
  const std::string* location = head_.find("location");
  if (location == nullptr || location->empty()) return network(request_.url, "a redirect to nowhere");
  const std::string target = resolve_url(request_.url, *location);
  if (target.empty()) return network(request_.url, fmt::format("a redirect to '{}'", escaped(*location)));
  if (origin_of(request_.url).rfind("https:", 0) == 0 && origin_of(target).rfind("https:", 0) != 0) {
    return network(request_.url, "a redirect from https to plain http; it is not followed");
  }
  request_.url = target;
  return arm();
}

void HttpTransfer::finish(int curl_code) {
  curl_multi_remove_handle(multi_of(client_->multi_), easy_of(easy_));
  is_hopeless_ = !status_.ok();
  if (status_.ok() && (curl_code == CURLE_OK || curl_code == CURLE_WRITE_ERROR)) {
    Callbacks::tell_head(*this);  // an answer without a body
    const bool is_upload = request_.method != "GET" && request_.method != "HEAD";
    if (status_.ok() && is_redirect(head_.status) && !is_upload) {
      status_ = follow();
      if (status_.ok()) return;
    }
    is_hopeless_ = !status_.ok();
  } else if (status_.ok()) {
    const auto code = static_cast<CURLcode>(curl_code);
    const char* why = curl_easy_strerror(code);
    if (code == CURLE_OPERATION_TIMEDOUT) why = head_told_ ? "it stopped sending" : "it does not answer";
    status_ = network(request_.url, why);
    if (code == CURLE_SSL_CONNECT_ERROR) status_.error().message += "; if it speaks plain http, --insecure allows that";
  }
  done_ = true;
}

HttpClient::HttpClient(HttpSettings settings) : settings_(settings) {
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  CARAT_ASSERT(once == CURLE_OK);
  multi_ = curl_multi_init();
  CARAT_ASSERT(multi_ != nullptr);
}

HttpClient::~HttpClient() { curl_multi_cleanup(multi_of(multi_)); }

std::unique_ptr<HttpTransfer> HttpClient::start(HttpRequest request, HttpTransfer::OnHead on_head,
                                                HttpTransfer::OnBody on_body) {
  std::unique_ptr<HttpTransfer> transfer(new HttpTransfer);
  transfer->client_ = this;
  transfer->easy_ = curl_easy_init();
  CARAT_ASSERT(transfer->easy_ != nullptr);
  transfer->request_ = std::move(request);
  transfer->on_head_ = std::move(on_head);
  transfer->on_body_ = std::move(on_body);
  transfer->status_ = transfer->arm();
  transfer->done_ = transfer->is_hopeless_ = !transfer->status_.ok();
  return transfer;
}

void HttpClient::run(int wait_ms) {
  int running = 0;
  curl_multi_perform(multi_of(multi_), &running);
  int left = 0;
  bool ended = false;
  while (const CURLMsg* message = curl_multi_info_read(multi_of(multi_), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    void* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    static_cast<HttpTransfer*>(transfer)->finish(message->data.result);
    ended = true;
  }
  if (!ended) curl_multi_poll(multi_of(multi_), nullptr, 0, wait_ms, nullptr);
}

Status HttpClient::wait(int attempt, const HttpHead* head, const std::function<bool()>& cancelled) {
  const int64_t doubled = settings_.first_wait_ms << std::min(attempt - 1, 10);
  const int64_t asked = std::max(doubled, retry_after_ms(head).value_or(0));
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(std::min(asked, settings_.longest_wait_ms));
  while (std::chrono::steady_clock::now() < until) {
    if (cancelled()) return Error{ErrorCode::kCancelled, "cancelled"};
    ::poll(nullptr, 0, 20);
  }
  return {};
}

Result<HttpAnswer> HttpClient::fetch(const HttpRequest& request, size_t limit_bytes,
                                     const std::function<bool()>& cancelled) {
  for (int attempt = 1;; ++attempt) {
    HttpAnswer answer;
    const auto transfer = start(request, nullptr, [&](std::span<const std::byte> bytes) -> Status {
      if (answer.body.size() + bytes.size() > limit_bytes) {
        return network(request.url, fmt::format("its answer is longer than {} bytes", limit_bytes));
      }
      answer.body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return {};
    });
    while (!transfer->is_done()) {
      if (cancelled()) return Error{ErrorCode::kCancelled, "cancelled"};
      run(100);
    }
    answer.head = transfer->head();
    const bool failed = !transfer->status().ok();
    const bool is_final =
        failed ? transfer->is_hopeless() || (answer.head.status == 0 && attempt >= 2) : !is_busy(answer.head.status);
    if (is_final || attempt >= settings_.attempts || request.read_upload) {
      if (failed) return transfer->status().error();
      return answer;
    }
    CARAT_CHECK(wait(attempt, failed ? nullptr : &answer.head, cancelled));
  }
}

}  // namespace carat
