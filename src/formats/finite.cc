#include "formats/finite.h"

#include <cstring>

#include "formats/quant_blocks.h"

namespace carat {
namespace {

// Where a block of a type has its half floats; `second` is 0 where there is only one.
struct Halves {
  size_t first = 0, second = 0;
};

Halves halves_of(DType type) {
  switch (type) {
    case DType::kQ4_1:
      return {offsetof(BlockQ4_1, d), offsetof(BlockQ4_1, m)};
    case DType::kQ5_1:
      return {offsetof(BlockQ5_1, d), offsetof(BlockQ5_1, m)};
    case DType::kQ2_K:
      return {offsetof(BlockQ2_K, d), offsetof(BlockQ2_K, dmin)};
    case DType::kQ3_K:
      return {offsetof(BlockQ3_K, d), 0};
    case DType::kQ4_K:
      return {offsetof(BlockQ4_K, d), offsetof(BlockQ4_K, dmin)};
    case DType::kQ5_K:
      return {offsetof(BlockQ5_K, d), offsetof(BlockQ5_K, dmin)};
    case DType::kQ6_K:
      return {offsetof(BlockQ6_K, d), 0};
    default:
      return {};  // the block begins with its only scale
  }
}

// Every `stride` bytes from `at` lies a T; it is not finite if all bits of its exponent are set. The whole run is looked
// at, so that a compiler can do it in vectors.
template <class T>
bool all_finite(const std::byte* at, size_t count, size_t stride, T exponent) {
  bool bad = false;
  for (size_t i = 0; i < count; ++i) {
    T bits;
    std::memcpy(&bits, at + i * stride, sizeof bits);
    bad |= (bits & exponent) == exponent;
  }
  return !bad;
}

bool row_is_finite(const TensorView& tensor, int64_t row) {
  const std::byte* data = tensor.row(row);
  const auto columns = static_cast<size_t>(tensor.columns);
  if (tensor.type == DType::kF32) return all_finite<uint32_t>(data, columns, 4, 0x7f800000);
  if (tensor.type == DType::kBF16) return all_finite<uint16_t>(data, columns, 2, 0x7f80);
  if (tensor.type == DType::kF16) return all_finite<uint16_t>(data, columns, 2, 0x7c00);
  const auto block = static_cast<size_t>(dtype_info(tensor.type).block_bytes);
  const size_t blocks = tensor.row_bytes() / block;
  const Halves halves = halves_of(tensor.type);
  return all_finite<uint16_t>(data + halves.first, blocks, block, 0x7c00) &&
         (halves.second == 0 || all_finite<uint16_t>(data + halves.second, blocks, block, 0x7c00));
}

}  // namespace

int64_t first_row_not_finite(const TensorView& tensor, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    if (!row_is_finite(tensor, row)) return row;
  }
  return -1;
}

}  // namespace carat
