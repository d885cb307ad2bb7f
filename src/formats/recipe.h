// In which type each matrix of a model is kept: one for all, or llama.cpp's mixture Q4_K_M.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "formats/dtype.h"

namespace carat {

struct WeightRecipe {
  DType type = DType::kQ4_0;
  bool mixture = false;

  // Rows that are not whole blocks of 256 get the type that llama.cpp falls back to: Q4_K -> Q5_0, Q5_K -> Q5_1,
  // Q6_K -> Q8_0, Q2_K and Q3_K -> Q4_0, IQ4_XS -> IQ4_NL.
  DType type_of(bool more_bits, int64_t columns) const;
  uint32_t file_type() const;  // llama_ftype of llama.h, by which people see what a file holds
};

std::optional<WeightRecipe> weight_recipe(std::string_view name);  // "q4_0", "bf16", ..., "q4_k_m"; case-insensitive
std::string weight_recipe_names();                                 // for messages

// Q4_K_M: the first and last eighth of the layers and every third between keep more of attn_v and ffn_down
// (use_more_bits in llama-quant.cpp).
bool uses_more_bits(int layer, int layers);

}  // namespace carat
