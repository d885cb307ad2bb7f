// The tensor types that Carat reads, and a tensor as it lies in a file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace carat {

// In the order of ggml's type ids (gguf.md of ggml), which is not the numbering here.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
};
inline constexpr int kDTypeCount = 15;

struct DTypeInfo {
  std::string_view name;  // as people write it: "q4_K", "bf16"
  int block_elements;     // elements a block covers: 1, 32 or 256
  int block_bytes;
  int ggml_id;  // its number in a GGUF file
};

const DTypeInfo& dtype_info(DType type);
std::optional<DType> dtype_from_ggml(uint32_t ggml_id);
// What people call a type of ggml, also one that Carat does not read: "IQ3_XXS"; "type 99" for a number without a name.
std::string ggml_type_name(uint32_t ggml_id);
std::optional<DType> dtype_from_name(std::string_view name);  // case-insensitive

inline bool is_quantised(DType type) { return type != DType::kF32 && type != DType::kF16 && type != DType::kBF16; }

// Bytes of `elements` elements, which must be whole blocks; nothing otherwise or on overflow.
std::optional<uint64_t> dtype_bytes(DType type, uint64_t elements);

// A tensor inside a mapped file. Row-major: `rows` rows of `columns` elements, a row being contiguous whole blocks.
// A vector has rows == 1. Invariant of every loader: data.size() == rows * bytes of a row, inside the file.
struct TensorView {
  std::string name;
  DType type = DType::kF32;
  int64_t rows = 0;
  int64_t columns = 0;
  std::span<const std::byte> data;

  int64_t elements() const { return rows * columns; }
  size_t row_bytes() const { return data.size() / static_cast<size_t>(rows); }
  const std::byte* row(int64_t index) const { return data.data() + static_cast<size_t>(index) * row_bytes(); }
};

}  // namespace carat
