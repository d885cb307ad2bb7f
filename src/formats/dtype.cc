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

// Every type that ggml has had, by number; empty where a number was given up.
constexpr std::array<std::string_view, 41> kGgmlNames{
    "F32",        "F16",        "Q4_0",       "Q4_1",  "",         "",         "Q5_0",     "Q5_1",    "Q8_0",
    "Q8_1",       "Q2_K",       "Q3_K",       "Q4_K",  "Q5_K",     "Q6_K",     "Q8_K",     "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS",    "IQ1_S",      "IQ4_NL",     "IQ3_S", "IQ2_S",    "IQ4_XS",   "I8",       "I16",     "I32",
    "I64",        "F64",        "IQ1_M",      "BF16",  "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0",
    "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4"};

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

std::string ggml_type_name(uint32_t ggml_id) {
  const bool named = ggml_id < kGgmlNames.size() && !kGgmlNames[ggml_id].empty();
  return named ? std::string(kGgmlNames[ggml_id]) : "type " + std::to_string(ggml_id);
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
