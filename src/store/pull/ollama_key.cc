// The format is OpenSSH's PROTOCOL.key: lengths of four bytes, big end first, each checked before it is believed.
#include "store/pull/ollama_key.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/files.h"
#include "store/digest.h"
#include "store/pull/base64.h"

namespace carat {
namespace {

constexpr size_t kMaxKeyBytes = 64 << 10;
constexpr std::string_view kBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";
constexpr std::string_view kEnd = "-----END OPENSSH PRIVATE KEY-----";
constexpr std::string_view kMagic("openssh-key-v1\0", 15);

// Takes fields off the front; once one is not there, all that follow are empty.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : left_(bytes) {}
  std::string_view take(size_t count) {
    if (count > left_.size()) return left_ = {};
    const std::string_view field = left_.substr(0, count);
    left_.remove_prefix(count);
    return field;
  }
  uint32_t number() {
    uint32_t value = 0;
    for (const char byte : take(4)) value = value << 8 | static_cast<unsigned char>(byte);
    return value;
  }
  std::string_view text() { return take(number()); }

 private:
  std::string_view left_;
};

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

Result<OllamaKey> OllamaKey::read(const std::filesystem::path& path) {
  CARAT_TRY(const std::string text, read_file(path, kMaxKeyBytes));
  return parse(text, path.string());
}

Result<OllamaKey> OllamaKey::parse(std::string_view text, std::string_view where) {
  const Error other{ErrorCode::kUnsupported,
                    fmt::format("{}: it is no Ed25519 key of OpenSSH's without a passphrase", where)};
  const size_t begin = text.find(kBegin), end = text.find(kEnd);
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return other;
  const auto bytes = from_base64(text.substr(begin + kBegin.size(), end - begin - kBegin.size()));
  if (!bytes) return other;
  Fields outer(*bytes);
  if (outer.take(kMagic.size()) != kMagic) return other;
  if (outer.text() != "none" || outer.text() != "none" || !outer.text().empty() || outer.number() != 1) return other;
  const std::string_view public_part = outer.text();
  Fields inner(outer.text());
  const uint32_t check = inner.number();
  if (inner.number() != check || inner.text() != "ssh-ed25519") return other;
  const std::string_view public_bytes = inner.text();
  const std::string_view private_bytes = inner.text();  // the seed, then the public key again
  if (public_bytes.size() != 32 || private_bytes.size() != 64 || private_bytes.substr(32) != public_bytes) return other;
  if (!public_part.ends_with(public_bytes)) return other;
  OllamaKey key;
  key.public_key_ = base64(public_part);
  std::copy_n(private_bytes.begin(), key.seed_.size(), key.seed_.begin());
  return key;
}

Result<std::string> OllamaKey::sign(std::string_view text) const {
  const std::unique_ptr<EVP_PKEY, FreeKey> key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed_.data(), seed_.size()));
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  std::array<unsigned char, 64> signature{};
  size_t length = signature.size();
  if (key == nullptr || context == nullptr ||
      EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), signature.data(), &length, reinterpret_cast<const unsigned char*>(text.data()),
                     text.size()) != 1) {
    return Error{ErrorCode::kUnsupported, "this OpenSSL does not sign with Ed25519"};
  }
  return public_key_ + ":" + base64({reinterpret_cast<const char*>(signature.data()), length});
}

std::string token_request_text(std::string_view url) {
  return fmt::format("GET,{},{}", url, base64(sha256("").hex()));  // of the request's body, which is empty
}

}  // namespace carat
