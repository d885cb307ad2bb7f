// Whole forwards of the CUDA kernels, on the emulator or a device, beside those of cpu/portable.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/random_forward.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/emulated_device.h"
#include "support/compare.h"

namespace carat::test {

inline constexpr int32_t kRows = 96;

inline std::unique_ptr<Backend> ready(Result<std::unique_ptr<Backend>> backend) {
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  EXPECT_TRUE((*backend)->reserve_kv({40, 40, kRows}).ok());
  return std::move(*backend);
}
inline std::unique_ptr<Backend> portable(const RandomModel& model) {
  return ready(create_backend({"cpu/portable", 2, Precision::kExact}, model.config, model.weights));
}
// A layer of each kind, of four query heads.
inline RandomModel two_layers(DType type, int32_t kv_heads = 1, int32_t head_size = 256) {
  ModelConfig c = random_model(type, 1, 512, 512, head_size).config;
  c.layers = 2;
  c.kv_heads = kv_heads;
  c.is_global = {false, true};
  return random_weights(c, type, 1);
}
inline std::unique_ptr<Backend> emulated(const RandomModel& model) {
  return ready(cuda::create_backend_on(emulated_device(), {}, model.config, model.weights));
}

// Logits of every row of a sequence fed in chunks.
inline std::vector<float> logits(Backend& backend, const ModelConfig& config, const std::vector<int32_t>& tokens,
                                 const std::vector<int32_t>& chunks) {
  return chunked_logits(backend, config, tokens, chunks, 0, std::max(kRows, chunks[0]));
}

inline std::string type_name(const testing::TestParamInfo<DType>& info) {
  return std::string(dtype_info(info.param).name);
}

// Steps of one row (one launch), of a few, of 17 (16 at a time) and of more than 48 (tiles, where they fill the device).
inline void expect_the_cpu(DType type, const RandomModel& model, Backend& device,
                           std::span<const std::pair<int, int>> runs) {
  const auto cpu = portable(model);
  for (const auto& [count, chunk] : runs) {
    const auto tokens = random_tokens(static_cast<size_t>(count), 2);
    const auto expected = logits(*cpu, model.config, tokens, {kRows});
    const auto actual = logits(device, model.config, tokens, {chunk});
    if (is_quantised(type)) {
      EXPECT_TRUE(same_bits(actual, expected)) << count << " rows, " << chunk << " at a time";
    }
    // Two pieces of bf16 hold 16 bits of an activation; the KV cache's 11 bits are rounded at slightly different places.
    // What the CPU makes of 16-bit weights holds 14 bits of the largest of 16: off by 2^-14 / sqrt(3) of that, which is about
    // twice their size, 7e-5 of a product. Four of them in each of six layers, independent, are off by 3.5e-4, the worst of
    // 81,920 values by 4.5 times that, and the cache's rounding comes on top.
    const bool sixteen = type == DType::kBF16 || type == DType::kF16;
    EXPECT_TRUE(rows_within(actual, expected, 512, sixteen ? 2.5e-3 : 1e-3))
        << count << " rows, " << chunk << " at a time";
  }
}

}  // namespace carat::test
