// Whole forwards of the CUDA kernels, on the emulator or a device, beside those of cpu/portable.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/random_model.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/emulated_device.h"
#include "base/checked.h"
#include "support/compare.h"
#include "support/text_step.h"

namespace carat::test {

inline constexpr int32_t kRows = 96;

inline std::vector<int32_t> random_tokens(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 512);
  return tokens;
}

inline std::unique_ptr<Backend> ready(Result<std::unique_ptr<Backend>> backend) {
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  EXPECT_TRUE((*backend)->reserve_kv({40, 40, kRows}).ok());
  return std::move(*backend);
}
inline std::unique_ptr<Backend> portable(const RandomModel& model) {
  return ready(create_backend({"cpu/portable", 2, Precision::kExact}, model.config, model.weights));
}
inline std::unique_ptr<Backend> emulated(const RandomModel& model) {
  return ready(cuda::create_backend_on(emulated_device(), {}, model.config, model.weights));
}

// Logits of every row of a sequence fed in chunks.
inline std::vector<float> logits(Backend& backend, const ModelConfig& config, const std::vector<int32_t>& tokens,
                                 const std::vector<int32_t>& chunks) {
  std::vector<int32_t> global, local;
  for (int32_t i = 0; i < div_ceil(static_cast<int32_t>(tokens.size()), kPageTokens); ++i) global.push_back(i);
  for (int32_t i = 0; i < div_ceil(config.window + std::max(kRows, chunks[0]), kPageTokens) + 1; ++i)
    local.push_back(i);
  std::vector<float> out;
  int32_t past = 0;
  for (size_t i = 0; past < static_cast<int32_t>(tokens.size()); ++i) {
    const int32_t count = std::min(chunks[i % chunks.size()], static_cast<int32_t>(tokens.size()) - past);
    const SeqRows seq{0, count, past, global, local};
    std::vector<int32_t> rows(static_cast<size_t>(count));
    for (int32_t r = 0; r < count; ++r) rows[static_cast<size_t>(r)] = r;
    const auto part = std::span(tokens).subspan(static_cast<size_t>(past), static_cast<size_t>(count));
    const std::vector<float> chunk = TextStep(part, {&seq, 1}, rows).run(backend);
    out.insert(out.end(), chunk.begin(), chunk.end());
    past += count;
  }
  return out;
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
