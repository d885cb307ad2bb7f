#include "server/base64.h"

#include <array>

namespace carat::server {
namespace {

constexpr uint8_t kWrong = 64, kSkipped = 65;

constexpr std::array<uint8_t, 256> make_table() {
  std::array<uint8_t, 256> table{};
  for (auto& entry : table) entry = kWrong;
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < kAlphabet.size(); ++i) table[static_cast<uint8_t>(kAlphabet[i])] = static_cast<uint8_t>(i);
  table['-'] = 62;
  table['_'] = 63;
  table['\n'] = table['\r'] = kSkipped;
  return table;
}

constexpr std::array<uint8_t, 256> kTable = make_table();

}  // namespace

std::optional<std::vector<uint8_t>> from_base64(std::string_view text) {
  std::vector<uint8_t> bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  uint32_t bits = 0;
  int count = 0, padding = 0;
  for (const char c : text) {
    if (c == '=') {
      ++padding;
      continue;
    }
    const uint8_t value = kTable[static_cast<uint8_t>(c)];
    if (value == kSkipped) continue;
    if (value == kWrong || padding > 0) return std::nullopt;
    bits = bits << 6 | value;
    if (++count % 4 == 0) {
      for (const int shift : {16, 8, 0}) bytes.push_back(static_cast<uint8_t>(bits >> shift));
      bits = 0;
    }
  }
  const int left = count % 4;
  if (left == 1 || padding > 2 || (padding > 0 && (left + padding) % 4 != 0)) return std::nullopt;
  if (left >= 2) bytes.push_back(static_cast<uint8_t>(bits >> (left == 2 ? 4 : 10)));
  if (left == 3) bytes.push_back(static_cast<uint8_t>(bits >> 2));
  return bytes;
}

}  // namespace carat::server
