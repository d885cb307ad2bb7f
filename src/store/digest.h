// SHA-256, the only name that a blob has. A digest from outside becomes a path only through Digest, and Digest::parse
// takes exactly "sha256:" and 64 lower-case hexadecimal digits, so no text of a manifest ever reaches the file system.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace carat {

struct Digest {
  std::array<uint8_t, 32> bytes{};

  static std::optional<Digest> parse(std::string_view text);  // "sha256:<64 hex>", nothing else
  static std::optional<Digest> parse_hex(std::string_view hex);

  std::string hex() const;   // 64 lower-case digits
  std::string text() const;  // "sha256:" + hex()

  bool operator==(const Digest& other) const { return bytes == other.bytes; }
  bool operator<(const Digest& other) const { return bytes < other.bytes; }
};

// A running hash; about 1.5 GB/s where the processor has SHA instructions.
class Sha256 {
 public:
  Sha256();

  void update(std::span<const std::byte> bytes);
  Digest finish();  // starts anew afterwards

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
};

Digest sha256(std::string_view text);

}  // namespace carat
