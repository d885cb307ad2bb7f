#include "store/pull/base64.h"

#include <openssl/evp.h>

#include <algorithm>

namespace carat {

std::string base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // and the zero that OpenSSL puts behind it
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  std::string plain;
  std::copy_if(text.begin(), text.end(), std::back_inserter(plain), [](char c) { return c != '\r' && c != '\n'; });
  if (plain.size() % 4 != 0 || plain.size() > (1 << 20)) return std::nullopt;
  const size_t padding = plain.ends_with("==") ? 2 : plain.ends_with("=") ? 1 : 0;
  if (plain.find('=') < plain.size() - padding) return std::nullopt;
  std::string bytes(plain.size() / 4 * 3, '\0');
  const int length =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(plain.data()), static_cast<int>(plain.size()));
  if (length < 0 || static_cast<size_t>(length) < padding) return std::nullopt;
  bytes.resize(static_cast<size_t>(length) - padding);
  return bytes;
}

}  // namespace carat
