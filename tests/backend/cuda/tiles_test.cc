// The definition's attention of many rows, in whole tiles and in parts of them (attend_tiles.cu, join_parts.cu), on the emulator: cpu/portable's bits.
#include <gtest/gtest.h>

#include "backend/cuda/forward_runs.h"

namespace carat {
namespace {

using test::logits;
using test::random_tokens;
using test::RandomModel;
using test::two_layers;

// Logits of tokens in chunks of up to 300 on the CPU, and on a device of so many multiprocessors.
void expect_the_cpu_in_chunks(const RandomModel& model, int multiprocessors, int32_t count,
                              const std::vector<int32_t>& chunks) {
  const auto cpu = create_backend({"cpu/portable", 2, Precision::kExact}, model.config, model.weights);
  const auto device =
      cuda::create_backend_on(test::emulated_device(9, multiprocessors), {}, model.config, model.weights);
  const auto tokens = random_tokens(static_cast<size_t>(count), 2);
  std::vector<float> all[2];
  for (const auto& [backend, out] : {std::pair{cpu->get(), &all[0]}, {device->get(), &all[1]}}) {
    ASSERT_TRUE(backend->reserve_kv({40, 40, 300}).ok());
    *out = logits(*backend, model.config, tokens, chunks);
  }
  EXPECT_TRUE(test::same_bits(all[1], all[0]));
}

// Heads of 256 in tiles, behind a window and a split: splits of which a quarter, a half or all of the warps have keys; what they leave is rounded
// with sums of columns (Q4_1) and without. On three multiprocessors tiles stay whole, on 100 they are cut, as far as there is room for records.
class EmulatedTilesTest : public testing::TestWithParam<DType> {};
TEST_P(EmulatedTilesTest, AreTheCpus) {
  const RandomModel model = two_layers(GetParam());
  for (const int multiprocessors : {3, 100}) expect_the_cpu_in_chunks(model, multiprocessors, 560, {299, 261});
}

// Few rows behind several splits, of two kv heads; they are rounded by another kernel.
TEST(EmulatedPartsTest, AreTheCpus) {
  expect_the_cpu_in_chunks(two_layers(DType::kQ8_0, 2, 64), 100, 770, {300, 300, 70, 100});
}

INSTANTIATE_TEST_SUITE_P(Types, EmulatedTilesTest, testing::Values(DType::kQ4_0, DType::kQ4_1), test::type_name);

}  // namespace
}  // namespace carat
