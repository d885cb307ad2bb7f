// Reads one GGUF file in memory into a GgufFile. Internal to formats/: use GgufFile::open or GgufFile::parse.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "formats/gguf.h"

namespace carat {

// Limits that no real file comes near, so that a hostile one cannot make the parser's own tables large (about 15 MiB).
inline constexpr uint64_t kGgufMaxValues = 65536;
inline constexpr uint64_t kGgufMaxTensors = 65536;
inline constexpr uint64_t kGgufMaxKeyBytes = 65535;  // gguf.md
inline constexpr uint64_t kGgufMaxNameBytes = 64;    // gguf.md
inline constexpr uint64_t kGgufMaxAlignment = 1u << 20;

struct GgufParser {
  std::span<const std::byte> bytes;
  std::string name;
  size_t at = 0;

  // Header, metadata and tensors, without the index over their names.
  Result<GgufFile> parse();

 private:
  Error error(ErrorCode code, std::string_view what) const;
  Error truncated(std::string_view where) const;
  uint64_t remaining() const { return bytes.size() - at; }

  template <class T>
  Status read(T& value, std::string_view where);
  Status read_string(std::string_view& text, uint64_t limit, std::string_view where);
  Status read_value(GgufValue& value);
  Status read_array(GgufValue& value, const std::string& where);
  Status read_alignment(const GgufFile& file, uint32_t& alignment) const;
  Status read_tensors(GgufFile& file, uint64_t count);
  Status check_overlaps(const GgufFile& file) const;
};

// Bytes of a scalar; 0 for strings, arrays and numbers that name no type.
uint64_t gguf_scalar_bytes(GgufType type);
std::string_view gguf_type_name(GgufType type);

}  // namespace carat
