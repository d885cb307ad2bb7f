#include "formats/dtype.h"

#include <algorithm>

#include "base/checked.h"
#include "base/result.h"

namespace carat {
namespace {

constexpr std::array<DTypeInfo, kDTypeCount> kInfos{{
    {"f32", 1, 4, 0},
    {"f16", 1, 2, 1},
    {"bf16", 1, 2, 30},
    {"q4_0", 32, 18, 2},
    {"q4_1", 32, 20, 3},
    {"q5_0", 32, 22, 6},
    {"q5_1", 32, 24, 7},
    {"q8_0", 32, 34, 8},
    {"q2_K", 256, 84, 10},
    {"q3_K", 256, 110, 11},
    {"q4_K", 256, 144, 12},
    {"q5_K", 256, 176, 13},
    {"q6_K", 256, 210, 14},
    {"iq4_nl", 32, 18, 20},
    {"iq4_xs", 256, 136, 23},
}};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

const DTypeInfo& dtype_info(DType type) {
  const auto index = static_cast<size_t>(type);
  CARAT_ASSERT(index < kInfos.size());
  return kInfos[index];
}

std::optional<DType> dtype_from_ggml(uint32_t ggml_id) {
  for (size_t i = 0; i < kInfos.size(); ++i) {
    if (static_cast<uint32_t>(kInfos[i].ggml_id) == ggml_id) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (size_t i = 0; i < kInfos.size(); ++i) {
    const std::string_view known = kInfos[i].name;
    if (std::equal(name.begin(), name.end(), known.begin(), known.end(),
                   [](char a, char b) { return lower(a) == lower(b); })) {
      return static_cast<DType>(i);
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> dtype_bytes(DType type, uint64_t elements) {
  const DTypeInfo& info = dtype_info(type);
  const auto block = static_cast<uint64_t>(info.block_elements);
  if (elements % block != 0) return std::nullopt;
  return checked_mul(elements / block, static_cast<uint64_t>(info.block_bytes));
}

}  // namespace carat
