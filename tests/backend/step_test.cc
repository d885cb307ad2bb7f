// Everything that a step can ask for, on every backend: rows of pictures that see ahead, hidden states, samples that
// stay on the device, copied pages, two steps in flight.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "backend/cpu/random_model.h"
#include "support/compare.h"
#include "support/text_step.h"

namespace carat {
namespace {

using test::random_model;
using test::RandomModel;
using test::TextStep;

constexpr int32_t kRows = 64;

std::unique_ptr<Backend> open(const RandomModel& model, const std::string& name) {
  auto backend = create_backend({name, 2}, model.config, model.weights);
  EXPECT_TRUE(backend.ok());
  EXPECT_TRUE((*backend)->reserve_kv({.global_pages = 8, .local_pages = 8, .max_rows = kRows, .slots = 3}).ok());
  return std::move(*backend);
}

std::vector<int32_t> tokens_of(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 512);
  return tokens;
}

// Logits and hidden states of every row of a text in which positions [20, 50) and [50, 70) are pictures.
struct Seen {
  std::vector<float> logits, hidden;
};
Seen with_pictures(Backend& backend, const RandomModel& model) {
  std::mt19937 random(5);
  const auto width = static_cast<size_t>(model.config.width);
  const std::vector<float> embeddings = test::normal_floats(random, 50 * width, 1.0f);
  const std::vector<int32_t> tokens = tokens_of(110, 3), pages{3, 0}, ring{1, 2, 5};
  Seen seen;
  for (const auto& [begin, end] : {std::pair{0, 20}, std::pair{20, 70}, std::pair{70, 110}}) {
    const SeqRows seq{0, end - begin, begin, pages, ring};
    TextStep text(
        std::span<const int32_t>(tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
        {&seq, 1}, {});
    for (int32_t row = 0; row < end - begin; ++row) {
      if (begin == 20) text.rows()[static_cast<size_t>(row)] = {kImageRow | row, row < 30 ? 49 : 69};
      text.outputs().push_back({row, OutputKind::kHidden});
      text.outputs().push_back({row, OutputKind::kLogits});
    }
    Step step = text.step();
    step.embeddings = embeddings;
    const auto ticket = backend.submit(step);
    EXPECT_TRUE(ticket.ok()) << ticket.error().message;
    const StepResult result = backend.wait(*ticket).value();
    for (const auto row : result.logits) seen.logits.insert(seen.logits.end(), row.begin(), row.end());
    for (const auto row : result.hidden) seen.hidden.insert(seen.hidden.end(), row.begin(), row.end());
  }
  return seen;
}

TEST(Steps, PicturesSeeThemselvesWholeAndHiddenStatesComeOut) {
  const RandomModel model = random_model(DType::kQ8_0, 11);  // window 100: the last rows no longer see all
  const Seen exact = with_pictures(*open(model, "reference"), model);
  ASSERT_EQ(exact.hidden.size(), 110u * static_cast<size_t>(model.config.width));
  Seen first;
  for (const std::string& name : backend_names()) {
    if (name == "reference") continue;
    const Seen seen = with_pictures(*open(model, name), model);
    // The tolerance is that of forward_test.cc, where it is derived.
    EXPECT_TRUE(test::rows_within(seen.logits, exact.logits, 512, 4e-3)) << name;
    EXPECT_TRUE(test::rows_within(seen.hidden, exact.hidden, static_cast<size_t>(model.config.width), 4e-3)) << name;
    if (first.logits.empty()) first = seen;
    EXPECT_TRUE(test::same_bits(seen.logits, first.logits)) << name;
    EXPECT_TRUE(test::same_bits(seen.hidden, first.hidden)) << name;
  }
}

// The continuation of two sequences, `in_flight` steps at once, the tokens staying in their slots.
std::vector<int32_t> continued(Backend& backend, int in_flight) {
  static const SamplingParams params;  // a draw, so that the tokens differ
  const std::vector<int32_t> prompt = tokens_of(20, 8), pages[] = {{0}, {4}};
  std::vector<int32_t> sampled;
  std::vector<Backend::Ticket> tickets;
  std::vector<TextStep> steps;
  const auto wait_for_one = [&] {
    const StepResult result = backend.wait(tickets.front()).value();
    for (const Sampled& sample : result.samples) sampled.push_back(sample.token);
    tickets.erase(tickets.begin());
  };
  for (int32_t i = 0; i < 12; ++i) {
    const int32_t rows = i == 0 ? 10 : 1, past = i == 0 ? 0 : 9 + i;
    const SeqRows seqs[] = {{0, rows, past, pages[0], pages[0]}, {rows, 2 * rows, past, pages[1], pages[1]}};
    steps.emplace_back(prompt, seqs, std::span<const int32_t>());
    for (int32_t s = 0; s < 2; ++s) {
      if (i > 0) steps.back().rows()[static_cast<size_t>(s)].token = kFromSlot | (2 - s);
      steps.back().outputs().push_back(
          {(s + 1) * rows - 1, OutputKind::kSample, 2 - s, {.params = &params, .generated = i}});
    }
  }
  for (const TextStep& step : steps) {
    tickets.push_back(backend.submit(step.step()).value());
    if (static_cast<int>(tickets.size()) == in_flight) wait_for_one();
  }
  while (!tickets.empty()) wait_for_one();
  return sampled;
}

TEST(Steps, SampledTokensGoFromStepToStepInTheirSlots) {
  const RandomModel model = random_model(DType::kQ8_0, 12);
  const std::vector<int32_t> expected = continued(*open(model, "reference"), 1);
  ASSERT_EQ(expected.size(), 24u);
  EXPECT_NE(std::vector<int32_t>(expected.begin() + 2, expected.end()),
            std::vector<int32_t>(expected.begin(), expected.end() - 2));
  for (const std::string& name : backend_names()) {
    EXPECT_EQ(continued(*open(model, name), 1), expected) << name;
    EXPECT_EQ(continued(*open(model, name), 2), expected) << name;
  }
}

// What speculation will do: several samples of one sequence in a step, then back to where they were right.
TEST(Steps, ASequenceMaySampleEveryRowAndBeCutBack) {
  static const SamplingParams params;
  const RandomModel model = random_model(DType::kQ8_0, 15);
  const std::vector<int32_t> tokens = tokens_of(30, 4), page{1}, other = tokens_of(10, 5);
  for (const std::string& name : backend_names()) {
    const auto backend = open(model, name);
    const SeqRows whole{0, 30, 0, page, page};
    TextStep all(tokens, {&whole, 1}, {});
    for (int32_t row = 20; row < 30; ++row)
      all.outputs().push_back({row, OutputKind::kSample, -1, {.params = &params}});
    const auto result = backend->wait(backend->submit(all.step()).value());
    ASSERT_EQ(result->samples.size(), 10u);
    const SeqRows rest{0, 10, 22, page, page};
    const std::vector<int32_t> last{9};
    const std::vector<float> cut_back = TextStep(other, {&rest, 1}, last).run(*backend);

    std::vector<int32_t> straight(tokens.begin(), tokens.begin() + 22);
    straight.insert(straight.end(), other.begin(), other.end());
    const SeqRows fresh{0, 32, 0, page, page};
    const std::vector<int32_t> last_of_all{31};
    EXPECT_TRUE(test::same_bits(cut_back, TextStep(straight, {&fresh, 1}, last_of_all).run(*backend))) << name;
  }
}

TEST(Steps, ACopiedPageHoldsWhatItsOriginalHeld) {
  const RandomModel model = random_model(DType::kQ8_0, 13);
  for (const std::string& name : backend_names()) {
    const auto backend = open(model, name);
    const std::vector<int32_t> tokens = tokens_of(30, 9), page{2}, copy{6}, last{9};
    const SeqRows all{0, 20, 0, page, page};
    TextStep(std::span<const int32_t>(tokens).first(20), {&all, 1}, {}).run(*backend);
    const SeqRows original{0, 10, 20, page, page}, copied{0, 10, 20, copy, copy};
    const std::vector<PageCopy> copies{{true, 2, 6}, {false, 2, 6}};
    const TextStep text(std::span<const int32_t>(tokens).last(10), {&copied, 1}, last);
    Step step = text.step();
    step.copies = copies;
    const auto row = backend->wait(backend->submit(step).value()).value().logits[0];
    const std::vector<float> after(row.begin(), row.end());
    EXPECT_TRUE(
        test::same_bits(after, TextStep(std::span<const int32_t>(tokens).last(10), {&original, 1}, last).run(*backend)))
        << name;
  }
}

TEST(Steps, AWrongStepIsRefusedAndNothingIsInFlight) {
  const RandomModel model = random_model(DType::kQ8_0, 14);
  for (const std::string& name : backend_names()) {
    const auto backend = open(model, name);
    const std::vector<int32_t> tokens = tokens_of(4, 1), page{0}, wrong{8}, last{3};
    const SeqRows bad{0, 4, 0, wrong, page}, good{0, 4, 0, page, page};
    const auto ticket = backend->submit(TextStep(tokens, {&bad, 1}, last).step());
    ASSERT_FALSE(ticket.ok()) << name;
    EXPECT_EQ(ticket.error().code, ErrorCode::kInvalidArgument);
    EXPECT_FALSE(TextStep(tokens, {&good, 1}, last).run(*backend).empty());
  }
}

TEST(Steps, BarredIdsAreNeverSampledOnAnyBackend) {
  const RandomModel model = random_model(DType::kQ8_0, 3);
  ModelConfig barred = model.config;
  const std::vector<int32_t> tokens = tokens_of(4, 1), pages{0}, wanted{1, 3};
  const SeqRows seq{0, 4, 0, pages, pages};
  for (const std::string& name : backend_names()) {
    const std::vector<float> plain = TextStep(tokens, {&seq, 1}, wanted).run(*open(model, name));
    // What each row would have chosen, and the last id.
    barred.barred_ids = {511};
    for (const size_t row : {0, 1}) {
      const auto logits = std::span(plain).subspan(row * 512, 512);
      barred.barred_ids.push_back(
          static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    }
    auto backend = create_backend({name, 2}, barred, model.weights);
    ASSERT_TRUE(backend.ok());
    ASSERT_TRUE((*backend)->reserve_kv({.global_pages = 1, .local_pages = 1, .max_rows = 4, .slots = 1}).ok());
    SamplingParams greedy;
    greedy.temperature = 0;
    TextStep step(tokens, {&seq, 1}, wanted);
    Output output{3, OutputKind::kSample};
    output.sample.params = &greedy;
    step.outputs().push_back(output);
    const auto ticket = (*backend)->submit(step.step());
    ASSERT_TRUE(ticket.ok()) << ticket.error().message;
    const StepResult result = (*backend)->wait(*ticket).value();
    for (const auto row : result.logits) {
      for (const int32_t id : barred.barred_ids) EXPECT_EQ(row[static_cast<size_t>(id)], -HUGE_VALF) << name;
    }
    EXPECT_EQ(std::count(barred.barred_ids.begin(), barred.barred_ids.end(), result.samples[0].token), 0) << name;
    EXPECT_GE(result.samples[0].token, 0) << name;
  }
}

}  // namespace
}  // namespace carat
