// The fixtures' greedy ids, which Hugging Face wrote, on the emulator and, where there is one, on the device.
#include "model/fixture.h"

#include <numeric>

#include "backend/backend.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/emulated_device.h"
#include "support/text_step.h"

namespace carat::test {
namespace {

constexpr size_t kPrompt = 24;  // of greedy_ids; the rest is what follows

// Prompt in chunks of seven, then a token at a time, each from its slot.
std::vector<int32_t> continued(Backend& backend, std::span<const int32_t> prompt, size_t count) {
  SamplingParams greedy;
  greedy.temperature = 0;
  std::vector<int32_t> pages(2), out;
  std::iota(pages.begin(), pages.end(), 0);
  EXPECT_TRUE(backend.reserve_kv({2, 2, 7}).ok());
  int32_t past = 0;
  while (out.size() < count) {
    const auto left = static_cast<int32_t>(prompt.size()) - past;
    const int32_t rows = std::clamp(left, 1, 7);
    const SeqRows seq{0, rows, past, pages, pages};
    const std::vector<int32_t> slot{kFromSlot};
    TextStep step(left > 0 ? prompt.subspan(static_cast<size_t>(past), static_cast<size_t>(rows)) : slot, {&seq, 1},
                  {});
    if (rows >= left) step.outputs().push_back({rows - 1, OutputKind::kSample, 0, {.params = &greedy}});
    const auto result = backend.wait(backend.submit(step.step()).value());
    EXPECT_TRUE(result.ok());
    if (!result.ok()) break;
    for (const Sampled& sample : result->samples) out.push_back(sample.token);
    past += rows;
  }
  return out;
}

void expect_hugging_faces_ids(const std::string& fixture, bool real) {
  const auto model = ModelFile::open(golden(fixture));
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto expected = SafetensorsFile::open(golden(fixture) / "expected.safetensors");
  ASSERT_TRUE(expected.ok());
  const auto ids = values_of<int32_t>(*expected, "greedy_ids");
  auto backend = real ? create_backend({"cuda", 0, Precision::kExact}, model->config, model->weights)
                      : cuda::create_backend_on(emulated_device(), {}, model->config, model->weights);
  ASSERT_TRUE(backend.ok()) << backend.error().message;
  const std::vector<int32_t> greedy(ids.begin() + kPrompt, ids.end());
  EXPECT_EQ(continued(**backend, std::span(ids).first(kPrompt), greedy.size()), greedy);
}

class FixtureTest : public testing::TestWithParam<const char*> {};

TEST_P(FixtureTest, GreedyIdsAreHuggingFacesOnTheEmulator) { expect_hugging_faces_ids(GetParam(), false); }

TEST_P(FixtureTest, GreedyIdsAreHuggingFacesOnTheDevice) {
  if (const auto device = cuda::describe_device(); !device.ok()) GTEST_SKIP() << device.error().message;
  expect_hugging_faces_ids(GetParam(), true);
}

INSTANTIATE_TEST_SUITE_P(Tiny, FixtureTest, testing::Values("gemma3-tiny-text", "gemma3-tiny-text-scaled"));

}  // namespace
}  // namespace carat::test
