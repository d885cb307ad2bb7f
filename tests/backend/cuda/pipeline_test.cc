// Two steps on their way: what one samples the next begins with, on the device, before the host has seen it; or after, where the
// host draws. The tokens are those of cpu/portable either way.
#include <gtest/gtest.h>

#include <deque>

#include "backend/backend.h"
#include "backend/cpu/random_model.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/emulated_device.h"
#include "support/text_step.h"

namespace carat {
namespace {

constexpr int32_t kSequences = 3, kSteps = 15;

// Every sequence goes on from its slot; step by step all are greedy, drawn, one is changed, one tells log-probabilities, and one
// sequence goes on alone.
std::vector<int32_t> continued(Backend& backend, size_t in_flight) {
  SamplingParams greedy, drawn, changed, told;
  greedy.temperature = 0;
  drawn.min_p = 0.01f;
  changed.repetition_penalty = 1.5f;
  told.logprobs = true;
  told.top_logprobs = 2;
  const std::vector<int32_t> tokens{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, pages[kSequences] = {{0}, {2}, {1}};
  EXPECT_TRUE(backend.reserve_kv({3, 3, 12, kSequences}).ok());
  std::vector<int32_t> sampled, past(kSequences);
  std::deque<Backend::Ticket> tickets;
  std::deque<test::TextStep> steps;
  std::deque<std::vector<SeqRows>> seqs;
  const auto take = [&] {
    const auto result = backend.wait(tickets.front());
    tickets.pop_front();
    EXPECT_TRUE(result.ok());
    if (!result.ok()) return;
    for (const Sampled& sample : result->samples) sampled.push_back(sample.token);
  };
  for (int32_t i = 0; i < kSteps; ++i) {
    const int32_t rows = i == 0 ? 4 : 1, count = i % 5 == 4 ? 1 : kSequences;
    std::vector<SeqRows>& all = seqs.emplace_back();
    for (int32_t s = 0; s < count; ++s) {
      all.push_back({s * rows, (s + 1) * rows, past[static_cast<size_t>(s)], pages[s], pages[s]});
      past[static_cast<size_t>(s)] += rows;
    }
    test::TextStep& step = steps.emplace_back(tokens, all, std::span<const int32_t>());
    for (int32_t s = 0; s < count; ++s) {
      if (i > 0) step.rows()[static_cast<size_t>(s)].token = kFromSlot | s;
      const SamplingParams& params = i % 7 == 3 && s == 1   ? changed
                                     : i % 7 == 5 && s == 0 ? told
                                     : (i + s) % 3 == 0     ? greedy
                                                            : drawn;
      step.outputs().push_back(
          {(s + 1) * rows - 1, OutputKind::kSample, s, {.params = &params, .generated = i, .seed = 9}});
    }
    tickets.push_back(backend.submit(step.step()).value());
    if (tickets.size() == in_flight) take();
  }
  while (!tickets.empty()) take();
  return sampled;
}

void expect_the_cpus(Backend& device, const test::RandomModel& model) {
  auto cpu = create_backend({"cpu/portable", 2}, model.config, model.weights);
  ASSERT_TRUE(cpu.ok());
  const std::vector<int32_t> expected = continued(**cpu, 1);
  ASSERT_EQ(expected.size(), 39u);
  for (const size_t in_flight : {1u, 2u}) EXPECT_EQ(continued(device, in_flight), expected) << in_flight;
}

TEST(Pipeline, SampledTokensAreInTheirSlotsOnTheEmulator) {
  const test::RandomModel model = test::random_model(DType::kQ8_0, 12);
  auto device = cuda::create_backend_on(test::emulated_device(), {}, model.config, model.weights);
  ASSERT_TRUE(device.ok());
  expect_the_cpus(**device, model);
}

TEST(Pipeline, SampledTokensAreInTheirSlotsOnTheDevice) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  const test::RandomModel model = test::random_model(DType::kQ4_0, 12);
  auto device = create_backend({"cuda"}, model.config, model.weights);
  ASSERT_TRUE(device.ok());
  for (int i = 0; i < 20; ++i) expect_the_cpus(**device, model);
}

// So many equal logits that they are not all taken: the device looks for the best one by one.
TEST(Pipeline, DrawsOfEqualLogitsAreTheCpus) {
  const test::RandomModel model = test::random_model(DType::kQ8_0, 3, 512, 1600);
  std::fill(model.storage[0]->begin(), model.storage[0]->end(), std::byte{0});
  auto device = cuda::create_backend_on(test::emulated_device(), {}, model.config, model.weights);
  ASSERT_TRUE(device.ok());
  expect_the_cpus(**device, model);
}

}  // namespace
}  // namespace carat
