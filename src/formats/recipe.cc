#include "formats/recipe.h"

#include <algorithm>

namespace carat {
namespace {

constexpr std::string_view kMixtureName = "q4_k_m";

// llama.cpp's choice for rows that are not whole blocks of `type` (tensor_type_fallback in llama-quant.cpp).
DType fitting(DType type, int64_t columns) {
  if (columns % dtype_info(type).block_elements == 0) return type;
  switch (type) {
    case DType::kQ4_K:
      return DType::kQ5_0;
    case DType::kQ5_K:
      return DType::kQ5_1;
    case DType::kQ6_K:
      return DType::kQ8_0;
    case DType::kQ2_K:
    case DType::kQ3_K:
      return DType::kQ4_0;
    case DType::kIQ4_XS:
      return DType::kIQ4_NL;
    default:
      return DType::kF16;
  }
}

}  // namespace

DType WeightRecipe::type_of(bool more_bits, int64_t columns) const {
  if (!mixture) return fitting(type, columns);
  return fitting(more_bits ? DType::kQ6_K : DType::kQ4_K, columns);
}

uint32_t WeightRecipe::file_type() const {
  if (mixture) return 15;
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 7;
    case DType::kQ5_0:
      return 8;
    case DType::kQ5_1:
      return 9;
    case DType::kQ2_K:
      return 10;
    case DType::kQ3_K:
      return 11;
    case DType::kQ4_K:
      return 14;
    case DType::kQ5_K:
      return 16;
    case DType::kQ6_K:
      return 18;
    case DType::kIQ4_NL:
      return 25;
    case DType::kIQ4_XS:
      return 30;
    case DType::kBF16:
      return 32;
  }
  return 0;
}

std::optional<WeightRecipe> weight_recipe(std::string_view name) {
  if (const auto type = dtype_from_name(name)) return WeightRecipe{*type, false};
  const bool is_mixture = std::equal(name.begin(), name.end(), kMixtureName.begin(), kMixtureName.end(),
                                     [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
  return is_mixture ? std::optional(WeightRecipe{DType::kQ4_K, true}) : std::nullopt;
}

std::string weight_recipe_names() {
  std::string names;
  for (int i = 0; i < kDTypeCount; ++i) names += std::string(dtype_info(static_cast<DType>(i)).name) + ", ";
  return names + std::string(kMixtureName);
}

bool uses_more_bits(int layer, int layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

}  // namespace carat
