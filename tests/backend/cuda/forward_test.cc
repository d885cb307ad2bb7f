// Whole forwards of the CUDA kernels, on the emulator: the bits of cpu/portable, whatever the chunks and neighbours.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/random_model.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/emulated_device.h"
#include "backend/cuda/forward_runs.h"
#include "backend/cuda/params.h"
#include "base/checked.h"
#include "support/compare.h"
#include "support/text_step.h"

namespace carat {
namespace {

using test::emulated;
using test::expect_the_cpu;
using test::kRows;
using test::logits;
using test::portable;
using test::random_model;
using test::random_tokens;
using test::RandomModel;
using test::ready;
using test::type_name;

class CudaForwardTest : public testing::TestWithParam<DType> {};
class EmulatedForwardTest : public testing::TestWithParam<DType> {
};  // slower: a type of every kind of packing, fewer rows

TEST_P(EmulatedForwardTest, IsTheCpu) {
  const RandomModel model = random_model(GetParam(), 1);
  const std::pair<int, int> runs[] = {{3, 1}, {3, 3}, {17, 17}, {160, 80}};
  expect_the_cpu(GetParam(), model, *emulated(model), runs);
}

// Matrices of a layer that are multiplied together have types of their own: gate and up are two parts, as q, k and v are.
TEST(EmulatedTypesTest, OfNeighboursMayDiffer) {
  RandomModel model = random_model(DType::kQ4_0, 1);
  const RandomModel other = random_model(DType::kQ6_K, 2);
  for (size_t i = 0; i < model.weights.layers.size(); ++i) {
    LayerWeights& layer = model.weights.layers[i];
    layer.up = other.weights.layers[i].up;
    layer.v = other.weights.layers[i].v;
  }
  const std::pair<int, int> runs[] = {{3, 1}, {17, 17}};
  expect_the_cpu(DType::kQ4_0, model, *emulated(model), runs);
}

// More rows than that, which warpgroups multiply; the last tile of 72 has 12.
void expect_the_cpu_of_many_rows(const RandomModel& model, Backend& device) {
  const auto cpu = create_backend({"cpu/portable", 2, Precision::kExact}, model.config, model.weights);
  const auto tokens = random_tokens(300, 2);
  std::vector<float> all[2];
  for (const auto& [backend, out] : {std::pair{cpu->get(), &all[0]}, {&device, &all[1]}}) {
    ASSERT_TRUE(backend->reserve_kv({40, 40, 300}).ok());
    *out = logits(*backend, model.config, tokens, {300});
  }
  if (is_quantised(model.weights.embedding.type)) {
    EXPECT_TRUE(test::same_bits(all[1], all[0]));
  } else {
    EXPECT_TRUE(test::rows_within(all[1], all[0], 512, 2.5e-3));  // as expect_the_cpu
  }
}
class EmulatedManyRowsTest : public testing::TestWithParam<DType> {};
TEST_P(EmulatedManyRowsTest, AreTheCpus) {
  const RandomModel model = random_model(GetParam(), 1);
  expect_the_cpu_of_many_rows(model, *emulated(model));
}

// Heads of 256 attend on warpgroups: windows and pages that begin and end within a tile, an odd number of pages, one page.
TEST(EmulatedWideAttentionTest, IsNearTheCpu) {
  const RandomModel model = random_model(DType::kBF16, 1, 512, 512, 256);
  const auto tokens = random_tokens(200, 2);
  const auto expected = logits(*portable(model), model.config, tokens, {kRows});
  for (const auto& [precision, tolerance] : {std::pair{Precision::kExact, 5e-3}, {Precision::kFast, 6e-2}}) {
    BackendOptions options;
    options.precision = precision;
    const auto device = ready(cuda::create_backend_on(test::emulated_device(), options, model.config, model.weights));
    EXPECT_TRUE(test::rows_within(logits(*device, model.config, tokens, {93}), expected, 512, tolerance));
  }
}

// Draws from the most probable tokens, which the device has picked out, beside a greedy one and (`logprobs`) one that needs all.
std::vector<int32_t> draws(Backend& backend, int32_t rows, int32_t top_k, bool logprobs) {
  const auto tokens = random_tokens(static_cast<size_t>(rows), 5);
  const std::vector<int32_t> pages{0, 1, 2, 3};
  const SeqRows seq{0, rows, 0, pages, pages};
  test::TextStep text(tokens, {&seq, 1}, {});
  SamplingParams drawn, greedy, told;
  drawn.top_k = top_k;
  drawn.top_p = 1;
  greedy.temperature = 0;
  told.logprobs = logprobs;
  for (int32_t row = 0; row < rows; ++row) {
    const SamplingParams& params = row % 3 == 1 ? greedy : row == 2 && logprobs ? told : drawn;
    text.outputs().push_back({row, OutputKind::kSample, -1, {.params = &params, .seed = static_cast<uint64_t>(row)}});
  }
  std::vector<int32_t> sampled;
  const auto result = backend.wait(backend.submit(text.step()).value());
  EXPECT_TRUE(result.ok());
  for (const Sampled& sample : result->samples) sampled.push_back(sample.token);
  return sampled;
}

// Everything that a request may ask of its draws, several in one step, with a mask, a history and log-probabilities.
std::vector<Sampled> varied_draws(Backend& backend, int32_t rows, int32_t vocabulary) {
  const auto tokens = random_tokens(static_cast<size_t>(rows), 5);
  const std::vector<int32_t> pages{0, 1, 2, 3}, history = random_tokens(40, 6), ends{3, 4, 5};
  const SeqRows seq{0, rows, 0, pages, pages};
  test::TextStep text(tokens, {&seq, 1}, {});
  std::vector<uint32_t> mask(static_cast<size_t>(div_ceil(vocabulary, 32))), nothing(mask.size());
  std::mt19937 random(7);
  for (uint32_t& word : mask) word = static_cast<uint32_t>(random() & random() & random());
  std::vector<SamplingParams> params(static_cast<size_t>(rows));
  for (int32_t row = 0; row < rows; ++row) {
    SamplingParams& p = params[static_cast<size_t>(row)];
    const int32_t kind = row % 9, change = row / 9 % 5;
    p.temperature = kind == 0 || kind == 1 ? 0 : kind == 2 ? 0.7f : 1;
    p.top_k = kind <= 1 ? 64 : kind <= 3 ? 7 : kind == 4 ? 300 : 0;
    p.top_p = kind == 3 || kind == 5 ? 0.9f : 1;
    p.min_p = kind == 6 || kind == 3 ? 0.02f : 0;
    p.typical_p = kind == 7 ? 0.5f : 1;
    p.logprobs = row % 2 == 1;
    p.top_logprobs = row % 4 == 1 ? 5 : 0;
    if (change == 1 || change == 4) p.logit_bias = {{3, 2.0f}, {100, -3.5f}, {tokens[static_cast<size_t>(row)], 1}};
    if (change == 2 || change == 4) p.repetition_penalty = 1.3f, p.frequency_penalty = 0.25f;
    if (change == 3) p.min_tokens = 5;
    SampleSpec spec{.params = &p, .generated = row % 7, .seed = static_cast<uint64_t>(row)};
    if (p.has_penalty()) spec.history = history;
    spec.end_ids = ends;
    if (row % 5 == 3) spec.allowed = mask;
    if (row == 17) spec.allowed = nothing;
    text.outputs().push_back({row, OutputKind::kSample, -1, spec});
    if (row % 11 == 6) text.outputs().push_back({row, OutputKind::kLogits, -1, {}});
    if (row % 13 == 12) text.outputs().push_back({row, OutputKind::kSample, -1, spec});
  }
  const auto result = backend.wait(backend.submit(text.step()).value());
  EXPECT_TRUE(result.ok());
  return {result->samples.begin(), result->samples.end()};
}

void expect_the_varied_draws_of_the_cpu(const RandomModel& model, Backend& device) {
  const auto cpu = portable(model);
  for (const int32_t rows : {1, 2, 9, 90}) {
    const auto expected = varied_draws(*cpu, rows, model.config.vocabulary);
    const auto actual = varied_draws(device, rows, model.config.vocabulary);
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(actual[i].token, expected[i].token) << rows << " rows, sample " << i;
      EXPECT_EQ(actual[i].fault, expected[i].fault) << rows << " rows, sample " << i;
      EXPECT_EQ(actual[i].logprob, expected[i].logprob) << rows << " rows, sample " << i;
      ASSERT_EQ(actual[i].top.size(), expected[i].top.size()) << rows << " rows, sample " << i;
      for (size_t j = 0; j < expected[i].top.size(); ++j) {
        EXPECT_EQ(actual[i].top[j].id, expected[i].top[j].id);
        EXPECT_EQ(actual[i].top[j].logprob, expected[i].top[j].logprob);
      }
    }
  }
}

TEST(EmulatedSamplingTest, DrawsTheCpusWhateverIsAskedOfThem) {
  const RandomModel model = random_model(DType::kQ8_0, 3, 512, 5000);  // three pieces, more than there are places for
  expect_the_varied_draws_of_the_cpu(model, *emulated(model));
}

TEST(CudaSamplingTest, DrawsTheCpusWhateverIsAskedOfThem) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const RandomModel model = random_model(DType::kQ8_0, 3, 512, 30000);
  expect_the_varied_draws_of_the_cpu(
      model, *ready(create_backend({"cuda", 0, Precision::kExact}, model.config, model.weights)));
}

void expect_the_draws_of_the_cpu(const RandomModel& model, Backend& device) {
  const auto cpu = portable(model);
  for (const int32_t rows : {1, 5, 70}) {  // one launch; a few; more than the head takes at once
    for (const auto& [top_k, logprobs] : {std::pair{5, false}, {64, false}, {64, true}, {300, false}}) {
      EXPECT_EQ(draws(device, rows, top_k, logprobs), draws(*cpu, rows, top_k, logprobs)) << rows << " " << top_k;
    }
  }
}

TEST(EmulatedSamplingTest, DrawsTheCpus) {
  const RandomModel model = random_model(DType::kQ8_0, 3);
  expect_the_draws_of_the_cpu(model, *emulated(model));
}

// More than there are places for: the lowest ids are the most probable then.
TEST(EmulatedSamplingTest, DrawsTheCpusOfEqualLogits) {
  const RandomModel model = random_model(DType::kQ8_0, 3, 512, cuda::kTopTaken + 500);
  std::fill(model.storage[0]->begin(), model.storage[0]->end(), std::byte{0});
  ASSERT_EQ(model.storage[0]->data(), model.weights.embedding.data.data());
  const std::vector<int32_t> drawn = draws(*emulated(model), 6, 5, false);
  EXPECT_EQ(drawn, draws(*portable(model), 6, 5, false));
  EXPECT_LT(*std::max_element(drawn.begin(), drawn.end()), 5);
}

TEST(CudaSamplingTest, DrawsTheCpus) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const RandomModel model = random_model(DType::kQ8_0, 3);
  expect_the_draws_of_the_cpu(model,
                              *ready(create_backend({"cuda", 0, Precision::kExact}, model.config, model.weights)));
}

// Fast: attention's queries and weights, and what BF16 weights multiply, are rounded to 11 and 8 bits; the rest is the same.
TEST(EmulatedFastTest, IsNearTheCpu) {
  for (const auto& [type, tolerance] : {std::pair{DType::kQ4_0, 1e-2}, {DType::kBF16, 6e-2}}) {
    const RandomModel model = random_model(type, 1);
    const auto tokens = random_tokens(260, 2);
    BackendOptions options;
    options.precision = Precision::kFast;
    const auto fast = ready(cuda::create_backend_on(test::emulated_device(), options, model.config, model.weights));
    const auto expected = logits(*portable(model), model.config, tokens, {kRows});
    const auto actual = logits(*fast, model.config, tokens, {93});
    EXPECT_TRUE(test::rows_within(actual, expected, 512, tolerance)) << dtype_info(type).name;
    EXPECT_FALSE(test::same_bits(actual, expected));
    // Many rows at once: quantised weights are BF16, too.
    ASSERT_TRUE(fast->reserve_kv({40, 40, 300}).ok());
    EXPECT_TRUE(test::rows_within(logits(*fast, model.config, tokens, {260}), expected, 512, 6e-2));
  }
}

class EmulatedDepthTest : public testing::TestWithParam<DType> {};

// Behind a window and a split of attention: one row at a time, each in one launch.
TEST_P(EmulatedDepthTest, IsTheCpu) {
  const RandomModel model = random_model(GetParam(), 1);
  const auto tokens = random_tokens(267, 2);
  const std::vector<int32_t> chunks = {88, 88, 88, 1, 1, 1};
  const auto expected = logits(*portable(model), model.config, tokens, chunks);
  const auto actual = logits(*emulated(model), model.config, tokens, chunks);
  EXPECT_TRUE(test::same_bits(actual, expected));
}

// Sequences of several lengths, then rows side by side, one of each: their logits.
std::vector<float> logits_side_by_side(Backend& backend, const std::vector<int32_t>& lengths, int steps) {
  const auto count = static_cast<int32_t>(lengths.size());
  std::vector<std::vector<int32_t>> pages(lengths.size());
  for (int32_t s = 0; s < count; ++s) {
    for (int32_t i = 0; i < 40 / count; ++i) pages[static_cast<size_t>(s)].push_back(i * count + s);
  }
  std::vector<int32_t> rows;
  for (int32_t s = 0; s < count; ++s) {
    const auto at = static_cast<size_t>(s);
    const auto tokens = random_tokens(static_cast<size_t>(lengths[at]), static_cast<unsigned>(s));
    for (int32_t past = 0; past < lengths[at]; past += kRows) {
      const int32_t now = std::min(kRows, lengths[at] - past);
      const SeqRows seq{0, now, past, pages[at], pages[at]};
      test::TextStep(std::span(tokens).subspan(static_cast<size_t>(past), static_cast<size_t>(now)), {&seq, 1}, {})
          .run(backend);
    }
    rows.push_back(s);
  }
  std::vector<float> out;
  for (int step = 0; step < steps; ++step) {
    std::vector<SeqRows> seqs;
    for (int32_t s = 0; s < count; ++s) {
      const auto at = static_cast<size_t>(s);
      seqs.push_back({s, s + 1, lengths[at] + step, pages[at], pages[at]});
    }
    const auto some = test::TextStep(random_tokens(lengths.size(), 90), seqs, rows).run(backend);
    out.insert(out.end(), some.begin(), some.end());
  }
  return out;
}

// Blocks of one, two and four query heads of 256; windows and splits that begin and end within a sequence.
TEST(EmulatedRowsSideBySideTest, AreTheCpus) {
  const RandomModel model = test::two_layers(DType::kQ8_0);
  const std::vector<int32_t> lengths = {3, 255};
  const auto expected = logits_side_by_side(*portable(model), lengths, 2);
  for (const int multiprocessors : {64, 10, 3}) {
    const auto device =
        ready(cuda::create_backend_on(test::emulated_device(9, multiprocessors), {}, model.config, model.weights));
    EXPECT_TRUE(test::same_bits(logits_side_by_side(*device, lengths, 2), expected)) << multiprocessors;
  }
}

TEST(EmulatedRowsSideBySideTest, OfFloatsAreNearTheCpus) {
  const RandomModel model = test::two_layers(DType::kBF16, 2);
  const auto device = ready(cuda::create_backend_on(test::emulated_device(), {}, model.config, model.weights));
  const std::vector<int32_t> lengths = {3, 30, 2, 5, 1, 2, 70, 1, 1};
  EXPECT_TRUE(test::rows_within(logits_side_by_side(*device, lengths, 2),
                                logits_side_by_side(*portable(model), lengths, 2), 512, 5e-3));
}

// Heads of 256 leave the product of many rows ready for attention; few go through other kernels.
void expect_turned_heads(Backend& device, const RandomModel& model) {
  const auto cpu = portable(model);
  for (Backend* backend : {cpu.get(), &device}) ASSERT_TRUE(backend->reserve_kv({40, 40, 300}).ok());
  const auto tokens = random_tokens(310, 2);
  const auto expected = logits(*cpu, model.config, tokens, {300, 10});
  EXPECT_TRUE(test::rows_within(logits(device, model.config, tokens, {10, 300}), expected, 512, 5e-3));
}
TEST(EmulatedTurnedHeadsTest, AreNearTheCpus) {
  const RandomModel model = random_model(DType::kBF16, 1, 512, 512, 256);
  expect_turned_heads(*ready(cuda::create_backend_on(test::emulated_device(), {}, model.config, model.weights)), model);
}
TEST(CudaTurnedHeadsTest, AreNearTheCpus) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const RandomModel model = random_model(DType::kBF16, 1, 512, 512, 256);
  expect_turned_heads(*ready(create_backend({"cuda", 0, Precision::kExact}, model.config, model.weights)), model);
}

// Products of 16-bit weights with as many rows as one block has, or as two blocks of 128 share: columns that blocks of a cluster
// share out, gate and up in tiles of 112 and of 224 outputs.
void expect_rows_near_the_cpu(Backend& device, const RandomModel& model, const std::vector<int32_t>& counts) {
  const auto cpu = ready(create_backend({"cpu/portable", 2, Precision::kExact}, model.config, model.weights));
  for (const int32_t count : counts) {
    ASSERT_TRUE(device.reserve_kv({40, 40, count}).ok());
    ASSERT_TRUE(cpu->reserve_kv({40, 40, count}).ok());
    const auto tokens = random_tokens(static_cast<size_t>(count), 2);
    EXPECT_TRUE(test::rows_within(logits(device, model.config, tokens, {count}),
                                  logits(*cpu, model.config, tokens, {count}), 512, 5e-3))
        << count << " rows";
  }
}
TEST(EmulatedCoreRowsTest, AreNearTheCpus) {
  const RandomModel model = random_model(DType::kBF16, 1, 1664);
  expect_rows_near_the_cpu(*ready(cuda::create_backend_on(test::emulated_device(), {}, model.config, model.weights)),
                           model, {40, 100, 150});
}
TEST(CudaCoreRowsTest, AreNearTheCpus) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const RandomModel model = random_model(DType::kBF16, 1, 1664);
  expect_rows_near_the_cpu(*ready(create_backend({"cuda", 0, Precision::kExact}, model.config, model.weights)), model,
                           {40, 64, 100, 129, 256});
}

// The best of rows of logits is found where they are computed, whether they are kept or not.
void expect_the_best_of_each_row(Backend& backend, const ModelConfig& config, const std::vector<int32_t>& counts) {
  ASSERT_TRUE(backend.reserve_kv({40, 40, 300, 100}).ok());
  std::vector<int32_t> pages(40);
  for (int32_t i = 0; i < 40; ++i) pages[static_cast<size_t>(i)] = i;
  SamplingParams greedy;
  greedy.temperature = 0;
  for (const int32_t count : counts) {
    const SeqRows seq{0, count, 0, pages, pages};
    std::vector<int32_t> rows(static_cast<size_t>(count));
    for (int32_t r = 0; r < count; ++r) rows[static_cast<size_t>(r)] = r;
    const auto tokens = random_tokens(rows.size(), 3);
    const auto all = test::TextStep(tokens, {&seq, 1}, rows).run(backend);
    test::TextStep step(tokens, {&seq, 1}, {});
    for (const int32_t row : rows) {
      step.outputs().push_back({row, OutputKind::kSample, -1, {.params = &greedy}});
    }
    const auto result = backend.wait(backend.submit(step.step()).value());
    ASSERT_TRUE(result.ok());
    for (const int32_t row : rows) {
      const auto begin = all.begin() + int64_t{row} * config.vocabulary;
      const auto best = std::max_element(begin, begin + config.vocabulary) - begin;
      EXPECT_EQ(result->samples[static_cast<size_t>(row)].token, best) << count << " rows, row " << row;
    }
  }
}
TEST(EmulatedHeadTest, FindsTheBestOfEachRow) {
  const RandomModel model = random_model(DType::kBF16, 1, 512, 1000);
  const auto device = ready(cuda::create_backend_on(test::emulated_device(), {}, model.config, model.weights));
  expect_the_best_of_each_row(*device, model.config, {20, 70});
}
TEST(CudaHeadTest, FindsTheBestOfEachRow) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const RandomModel model = random_model(DType::kBF16, 1, 512, 30000);
  expect_the_best_of_each_row(*ready(create_backend({"cuda", 0, Precision::kExact}, model.config, model.weights)),
                              model.config, {20, 70, 200, 300});
}

TEST(CudaRowsSideBySideTest, AreTheCpus) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  for (const DType type : {DType::kQ4_0, DType::kBF16}) {
    const RandomModel model = random_model(type, 1, 512, 512, 256);
    const auto device = ready(create_backend({"cuda", 0, Precision::kExact}, model.config, model.weights));
    for (const std::vector<int32_t>& lengths :
         {std::vector<int32_t>{3, 127, 254, 301}, {1, 20, 70, 128, 5, 100, 30, 190, 2, 3}}) {
      const auto expected = logits_side_by_side(*portable(model), lengths, 3);
      const auto actual = logits_side_by_side(*device, lengths, 3);
      EXPECT_TRUE(is_quantised(type) ? test::same_bits(actual, expected)
                                     : test::rows_within(actual, expected, 512, 5e-3));
    }
  }
}

// One launch of many blocks, which share out a head's columns; 18 chunks between gate and down, which a warp brings for itself.
TEST_P(EmulatedDepthTest, IsTheCpuOnManyBlocks) {
  const RandomModel model = random_model(GetParam(), 1, 2304);
  const auto tokens = random_tokens(140, 2);
  const std::vector<int32_t> chunks = {70, 68, 1, 1};
  const auto device = ready(cuda::create_backend_on(test::emulated_device(9, 16), {}, model.config, model.weights));
  EXPECT_TRUE(test::same_bits(logits(*device, model.config, tokens, chunks),
                              logits(*portable(model), model.config, tokens, chunks)));
}

// Few rows of more columns between gate and down than a warp has segments, shared out among three blocks (9) or, of one, floats
// that shared memory does not hold at a time (8).
TEST(EmulatedDeepTest, IsTheCpu) {
  for (const DType type : {DType::kQ5_0, DType::kF32}) {
    const RandomModel model = random_model(type, 1, 26 * cuda::kTileColumns);
    const std::pair<int, int> runs[] = {{7, 7}};
    for (const int major : {9, 8}) {
      const auto device = ready(cuda::create_backend_on(test::emulated_device(major), {}, model.config, model.weights));
      expect_the_cpu(type, model, *device, runs);
    }
  }
}

// The kernels that are compiled for the 1B's shape, of which this has two layers.
class EmulatedShapeTest : public testing::TestWithParam<DType> {};
RandomModel of_the_1b(DType type) {
  ModelConfig c = random_model(DType::kQ8_0, 1).config;
  c.layers = 2, c.width = 1152, c.ffn_width = 6912;
  c.kv_heads = 1, c.head_size = 256, c.window = 512;
  c.is_global = {false, true};
  return test::random_weights(c, type, 1);
}
// Few keys on 66 blocks, splits on three.
TEST_P(EmulatedShapeTest, IsTheCpu) {
  const RandomModel model = of_the_1b(GetParam());
  const auto tokens = random_tokens(3, 2);
  const auto expected = logits(*portable(model), model.config, tokens, {1});
  for (const auto& [blocks, chunk] :
       {std::pair{66, 1}, {66, 3}, {3, 1}}) {  // three rows at once are what few rows take
    const auto device =
        ready(cuda::create_backend_on(test::emulated_device(9, blocks), {}, model.config, model.weights));
    const auto actual = logits(*device, model.config, tokens, {chunk});
    EXPECT_TRUE(is_quantised(GetParam()) ? test::same_bits(actual, expected)
                                         : test::rows_within(actual, expected, 512, 2.5e-3))
        << blocks << " blocks, " << chunk << " rows at a time";
  }
}
// Rows one by one that see the last keys that every block scores for itself, then the first that blocks share out.
TEST(EmulatedShapeTestOfKeys, IsTheCpuWhereKeysBecomeMore) {
  const RandomModel model = of_the_1b(DType::kQ4_0);
  const auto tokens = random_tokens(cuda::kNearKeys + 2, 2);
  const std::vector<int32_t> chunks = {kRows, cuda::kNearKeys - 2 - kRows, 1, 1, 1, 1};
  const auto device = ready(cuda::create_backend_on(test::emulated_device(9, 66), {}, model.config, model.weights));
  EXPECT_TRUE(test::same_bits(logits(*device, model.config, tokens, chunks),
                              logits(*portable(model), model.config, tokens, chunks)));
}

// What blocks take of shared memory, against the 163 KB that one has on sm_87 (Jetson Orin).
TEST(CudaSharedMemoryTest, FitsAJetsonOrin) {
  constexpr int kOrin = 163 * 1024;
  for (int type = 0; type < cuda::kTileTypes; ++type) {
    const auto tile = static_cast<cuda::TileType>(type);
    const cuda::TileFormat format = cuda::tile_format(tile);
    EXPECT_LE(cuda::gemm_shared_bytes(tile), kOrin) << "gemm of type " << type;
    // The 1B: 1152 wide, 6912 between gate and down, four heads of 256 to a kv head; two tiles a warp on their way. Rows of
    // float models are decoded by the kernels of batches there.
    if (!format.quantised()) continue;
    EXPECT_LE(cuda::some_shared_bytes(tile, 2, cuda::kSomeMostChunks), kOrin) << "16 rows of type " << type;
    const int32_t x_bytes[3] = {cuda::decode_input_bytes(9, 1), cuda::decode_input_bytes(8, 1),
                                cuda::decode_input_bytes(54, 1)};
    EXPECT_LE(cuda::decode_layout(1152, 4, 256, cuda::kPartItems, x_bytes, cuda::decode_piece_bytes(tile), 2).bytes,
              kOrin)
        << "decode of type " << type;
  }
}

TEST_P(CudaForwardTest, IsTheCpu) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const RandomModel model = random_model(GetParam(), 1);
  const std::pair<int, int> runs[] = {{3, 1}, {6, 3}, {21, 17}, {60, 60}, {270, 90}};
  expect_the_cpu(GetParam(), model, *ready(create_backend({"cuda", 0, Precision::kExact}, model.config, model.weights)),
                 runs);
}

TEST_P(CudaForwardTest, ManyRowsAreTheCpus) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const RandomModel model = random_model(GetParam(), 1);
  expect_the_cpu_of_many_rows(model,
                              *ready(create_backend({"cuda", 0, Precision::kExact}, model.config, model.weights)));
}

TEST(CudaLoading, AWeightThatIsNotFiniteIsNamed) {
  RandomModel model = random_model(DType::kQ5_1, 1);
  const LayerWeights& layer = model.weights.layers[2];
  const auto expect_refused = [&](const TensorView& tensor, int64_t row, size_t offset, const std::string& message) {
    auto* at = const_cast<std::byte*>(tensor.row(row)) + offset;
    const auto before = std::exchange(*at, std::byte{0x7f});  // the high byte of a half or a float: NaN
    const auto next = std::exchange(at[-1], std::byte{0xff});
    const auto backend = cuda::create_backend_on(test::emulated_device(), {}, model.config, model.weights);
    ASSERT_FALSE(backend.ok()) << message;
    EXPECT_EQ(backend.error().message, message);
    *at = before, at[-1] = next;
  };
  expect_refused(layer.up, 300, 3, "blk.2.ffn_up.weight, row 300: a scale is not finite");
  expect_refused(model.weights.embedding, 511, 25, "token_embd.weight, row 511: a scale is not finite");
  expect_refused(layer.k_norm, 0, 7, "blk.2.attn_k_norm.weight, row 0: an element is not finite");
}

INSTANTIATE_TEST_SUITE_P(Types, EmulatedForwardTest,
                         testing::Values(DType::kF32, DType::kBF16, DType::kQ4_0, DType::kQ5_1, DType::kQ8_0,
                                         DType::kQ2_K, DType::kQ6_K, DType::kIQ4_XS),
                         type_name);
INSTANTIATE_TEST_SUITE_P(Types, EmulatedManyRowsTest,
                         testing::Values(DType::kBF16, DType::kQ4_0, DType::kQ8_0, DType::kQ2_K), type_name);
INSTANTIATE_TEST_SUITE_P(Types, EmulatedDepthTest, testing::Values(DType::kQ4_0, DType::kQ6_K), type_name);
INSTANTIATE_TEST_SUITE_P(Types, EmulatedShapeTest,
                         testing::Values(DType::kQ4_0, DType::kQ5_0, DType::kQ8_0, DType::kBF16), type_name);
INSTANTIATE_TEST_SUITE_P(Types, CudaForwardTest,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                                         DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,
                                         DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS),
                         type_name);

}  // namespace
}  // namespace carat
