// A step that names what is not there is refused before any kernel reads it.
#include <gtest/gtest.h>

#include "support/text_step.h"

namespace carat {
namespace {

using test::TextStep;

struct Case {
  int32_t past = 0, rows = 4;
  std::vector<int32_t> global{0, 1, 2}, local{0, 1, 2};
  std::function<void(TextStep&)> change = {};
  std::vector<float> embeddings = {};
  std::vector<PageCopy> copies = {};

  // The message, empty where the step is right.
  std::string refused() const {
    ModelConfig config;
    config.window = 100;
    config.vocabulary = 512;
    config.width = 2;
    const std::vector<int32_t> tokens(static_cast<size_t>(std::max(rows, 0)), 5);
    const SeqRows seq{0, rows, past, global, local};
    TextStep text(tokens, {&seq, 1}, {});
    if (change) change(text);
    Step step = text.step();
    step.embeddings = embeddings;
    step.copies = copies;
    const Status status = check_step(step, {.global_pages = 3, .local_pages = 3, .max_rows = 512, .slots = 2}, config);
    if (status.ok()) return "";
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    return status.error().message;
  }
};

testing::AssertionResult says(const std::string& message, const std::string& part) {
  if (message.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << message << "' does not say '" << part << "'";
}

TEST(CheckStep, APositionOutsideItsTableIsRefused) {
  EXPECT_EQ((Case{.past = 188}.refused()), "");  // 191 is the last of three pages
  EXPECT_TRUE(says(Case{.past = 189}.refused(), "position 192 lies outside a table of 3 pages"));
  EXPECT_NE((Case{.past = -1}.refused()), "");
  EXPECT_NE((Case{.rows = 0}.refused()), "");
}

TEST(CheckStep, APageOutsideItsPoolIsRefused) {
  EXPECT_TRUE(says(Case{.global = {0, 3}}.refused(), "global page 3, expected 0 to 2"));
  EXPECT_NE((Case{.global = {-1}}.refused()), "");
  EXPECT_TRUE(says(Case{.local = {0, 1, 7}}.refused(), "local page 7, expected 0 to 2"));
  EXPECT_EQ((Case{.copies = {{true, 0, 2}}}.refused()), "");
  EXPECT_TRUE(says(Case{.copies = {{false, 0, 3}}}.refused(), "local page 3"));
}

TEST(CheckStep, ARingThatCannotHoldTheWindowIsRefused) {
  EXPECT_EQ((Case{.past = 150, .local = {0, 1, 2}}.refused()), "");  // keys 51 to 153: three pages
  EXPECT_TRUE(says(Case{.past = 150, .local = {0, 1}}.refused(), "do not fit a ring of 2 pages"));
  EXPECT_EQ((Case{.past = 27, .local = {0}}.refused()), "");
  EXPECT_NE((Case{.local = {}}.refused()), "");
}

TEST(CheckStep, RowsThatSeeWhatIsNotThereAreRefused) {
  const auto seeing = [](int32_t until) {
    return Case{.past = 10, .change = [=](TextStep& step) { step.rows()[1].sees_until = until; }}.refused();
  };
  EXPECT_EQ(seeing(11), "");
  EXPECT_EQ(seeing(13), "");
  EXPECT_TRUE(says(seeing(10), "sees until 10, expected 11 to 13"));
  EXPECT_NE(seeing(14), "");
}

TEST(CheckStep, RowsThatBeginWithWhatIsNotThereAreRefused) {
  const auto with = [](int32_t token) {
    return Case{.change = [=](TextStep& step) { step.rows()[2].token = token; }, .embeddings = {1, 2, 3, 4}}.refused();
  };
  EXPECT_EQ(with(511), "");
  EXPECT_NE(with(512), "");
  EXPECT_NE(with(-1), "");
  EXPECT_EQ(with(kFromSlot | 1), "");
  EXPECT_TRUE(says(with(kFromSlot | 2), "slot 2 of 2"));
  EXPECT_EQ(with(kImageRow | 1), "");
  EXPECT_TRUE(says(with(kImageRow | 2), "embedding 2"));
  EXPECT_NE(with(kImageRow | kFromSlot), "");
}

TEST(CheckStep, OutputsOutOfRangeOrOutOfOrderAreRefused) {
  static const SamplingParams params;
  const auto with = [](std::vector<Output> outputs) {
    return Case{.change = [=](TextStep& step) { step.outputs() = outputs; }}.refused();
  };
  const SampleSpec sample{.params = &params};
  EXPECT_EQ(with({{3, OutputKind::kSample, 1, sample}, {3, OutputKind::kLogits}}), "");
  EXPECT_NE(with({{4, OutputKind::kLogits}}), "");
  EXPECT_NE(with({{3, OutputKind::kLogits}, {2, OutputKind::kHidden}}), "");
  EXPECT_NE(with({{3, OutputKind::kSample, 2, sample}}), "");
  EXPECT_NE(with({{3, OutputKind::kSample, 1, {}}}), "");
  const std::vector<uint32_t> mask(15, ~0u);  // 480 of 512
  EXPECT_NE(with({{3, OutputKind::kSample, 1, {.params = &params, .allowed = mask}}}), "");
}

}  // namespace
}  // namespace carat
