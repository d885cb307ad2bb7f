// What a row's logits do not depend on: never on what its neighbours are; with --batch-invariant, nor on how many there are.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/emulated_device.h"
#include "backend/cuda/forward_runs.h"
#include "support/compare.h"

namespace carat {
namespace {

using test::logits;
using test::random_tokens;
using test::RandomModel;
using test::ready;
using test::same_bits;
using test::two_layers;
using Chunks = std::vector<int32_t>;

BackendOptions invariant() {
  BackendOptions options;
  options.name = "cuda";
  options.batch_invariant = true;
  return options;
}
// So many multiprocessors that up to 128 rows of 16-bit weights have a block for every 32 outputs.
std::unique_ptr<Backend> emulated(int major, const BackendOptions& options, const RandomModel& model) {
  return ready(cuda::create_backend_on(test::emulated_device(major, 16), options, model.config, model.weights));
}

// So many rows at once and, the same bits, in each of these ways.
void expect_the_bits_of_any_chunks(Backend& backend, const RandomModel& model, int32_t rows,
                                   const std::vector<Chunks>& all_chunks) {
  ASSERT_TRUE(backend.reserve_kv({40, 40, rows}).ok());
  const auto tokens = random_tokens(static_cast<size_t>(rows), 2);
  const auto expected = logits(backend, model.config, tokens, {rows});
  ASSERT_EQ(expected.size(), static_cast<size_t>(rows) * static_cast<size_t>(model.config.vocabulary));
  for (const Chunks& chunks : all_chunks) {
    EXPECT_TRUE(same_bits(logits(backend, model.config, tokens, chunks), expected)) << "first " << chunks[0];
  }
}

// Three quarters of a step's rows, before others that are changed. 150 of 200: a warp of attention has some of either, and more keys than it sees at a time.
void expect_rows_without_their_neighbours(Backend& backend, const RandomModel& model, const Chunks& counts) {
  ASSERT_TRUE(backend.reserve_kv({40, 40, *std::ranges::max_element(counts)}).ok());
  const auto V = static_cast<size_t>(model.config.vocabulary);
  for (const int32_t count : counts) {
    auto tokens = random_tokens(static_cast<size_t>(count), 2);
    auto before = logits(backend, model.config, tokens, {count});
    const auto kept = static_cast<size_t>(count * 3 / 4);
    std::ranges::copy(random_tokens(static_cast<size_t>(count) - kept, 3), tokens.begin() + static_cast<int64_t>(kept));
    auto after = logits(backend, model.config, tokens, {count});
    EXPECT_FALSE(same_bits(after, before)) << count;
    before.resize(kept * V);
    after.resize(kept * V);
    EXPECT_TRUE(same_bits(after, before)) << count << " rows";
  }
}

// What other floats than BF16 do is the same on both.
int major_of(DType type) { return type == DType::kBF16 ? 9 : 8; }

class EmulatedFloatsTest : public testing::TestWithParam<DType> {};
class CudaFloatsTest : public testing::TestWithParam<DType> {};

TEST_P(EmulatedFloatsTest, DoNotDependOnHowManyRowsThereAre) {
  const RandomModel model = two_layers(GetParam());
  expect_the_bits_of_any_chunks(*emulated(major_of(GetParam()), invariant(), model), model, 140,
                                {{1, 2, 90, 17, 1, 29}});
}
TEST_P(EmulatedFloatsTest, DoNotDependOnWhatTheirNeighboursAre) {
  const RandomModel model = two_layers(GetParam());
  expect_rows_without_their_neighbours(*emulated(major_of(GetParam()), {}, model), model, {2, 6, 200});
}

TEST_P(CudaFloatsTest, DoNotDependOnHowManyRowsThereAre) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const RandomModel model = two_layers(GetParam());
  expect_the_bits_of_any_chunks(*ready(create_backend(invariant(), model.config, model.weights)), model, 300,
                                {{1}, {3}, {8}, {17}, {64}, {100}, {128}, {129}, {256}, {1, 2, 90, 17, 1, 40, 149}});
}
TEST_P(CudaFloatsTest, DoNotDependOnWhatTheirNeighboursAre) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const RandomModel model = two_layers(GetParam());
  expect_rows_without_their_neighbours(*ready(create_backend({"cuda"}, model.config, model.weights)), model,
                                       {2, 6, 8, 20, 64, 100, 150, 200, 250, 300});
}

// Quantised layers with a matrix that is not, and the other way round: one kernel's output is another's input in a form of its own.
TEST(EmulatedFloatMixtureTest, DoesNotDependOnHowManyRowsThereAre) {
  for (const auto& [type, other_type] : {std::pair{DType::kQ4_0, DType::kF16}, {DType::kBF16, DType::kQ8_0}}) {
    RandomModel model = two_layers(type);
    const RandomModel other = two_layers(other_type);
    for (size_t i = 0; i < model.weights.layers.size(); ++i)
      model.weights.layers[i].down = other.weights.layers[i].down;
    expect_the_bits_of_any_chunks(*emulated(9, invariant(), model), model, 100, {{1, 2, 70, 17, 1, 9}});
  }
}

TEST(BatchInvariant, ExcludesFast) {
  const RandomModel model = two_layers(DType::kQ4_0);
  BackendOptions options = invariant();
  options.precision = Precision::kFast;
  const auto backend = cuda::create_backend_on(test::emulated_device(), options, model.config, model.weights);
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(backend.error().message,
            "--batch-invariant excludes --precision fast, which goes other ways for many rows than for few");
}

INSTANTIATE_TEST_SUITE_P(Types, EmulatedFloatsTest, testing::Values(DType::kF16, DType::kBF16), test::type_name);
INSTANTIATE_TEST_SUITE_P(Types, CudaFloatsTest, testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                         test::type_name);

}  // namespace
}  // namespace carat
