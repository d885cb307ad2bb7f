// SHA-256 by OpenSSL, and the strict parser that stands between texts and names of files.
#include "store/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <new>

#include "base/result.h"

namespace carat {
namespace {

constexpr std::string_view kPrefix = "sha256:";
constexpr std::string_view kHexDigits = "0123456789abcdef";

EVP_MD_CTX* context_of(void* pointer) { return static_cast<EVP_MD_CTX*>(pointer); }

// OpenSSL 3.0 goes on with a lock, or a default context, that it could not allocate, so whether it is ready is asked
// first.
bool is_ready() { return OPENSSL_init_crypto(0, nullptr) == 1 && OSSL_LIB_CTX_get0_global_default() != nullptr; }

}  // namespace

std::optional<Digest> Digest::parse(std::string_view text) {
  if (text.substr(0, kPrefix.size()) != kPrefix) return std::nullopt;
  return parse_hex(text.substr(kPrefix.size()));
}

std::optional<Digest> Digest::parse_hex(std::string_view hex) {
  Digest digest;
  if (hex.size() != 2 * digest.bytes.size()) return std::nullopt;
  for (size_t i = 0; i < hex.size(); ++i) {
    const size_t value = kHexDigits.find(hex[i]);
    if (value == std::string_view::npos) return std::nullopt;
    digest.bytes[i / 2] = static_cast<uint8_t>(digest.bytes[i / 2] << 4 | value);
  }
  return digest;
}

std::string Digest::hex() const {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const uint8_t byte : bytes) {
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 15];
  }
  return text;
}

std::string Digest::text() const { return std::string(kPrefix) + hex(); }

void Sha256::Free::operator()(void* context) const { EVP_MD_CTX_free(context_of(context)); }

// That it has no memory is what std::bad_alloc says of every other object (base/memory.h).
Sha256::Sha256() : context_(is_ready() ? EVP_MD_CTX_new() : nullptr) {
  if (context_ == nullptr || EVP_DigestInit_ex(context_of(context_.get()), EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
}

void Sha256::update(std::span<const std::byte> bytes) {
  CARAT_ASSERT(EVP_DigestUpdate(context_of(context_.get()), bytes.data(), bytes.size()) == 1);
}

Digest Sha256::finish() {
  Digest digest;
  EVP_MD_CTX* context = context_of(context_.get());
  CARAT_ASSERT(EVP_DigestFinal_ex(context, digest.bytes.data(), nullptr) == 1);
  if (EVP_DigestInit_ex(context, EVP_sha256(), nullptr) != 1) throw std::bad_alloc();  // it makes its state anew
  return digest;
}

Digest sha256(std::string_view text) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text)));
  return hash.finish();
}

}  // namespace carat
