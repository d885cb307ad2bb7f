// The engine with constraints: the best token of those that may come, whoever else runs; what must come costs no step.
#include <gtest/gtest.h>

#include <map>

#include "engine/constraint.h"
#include "engine/engine.h"
#include "engine/fake_backend.h"

namespace carat {
namespace {

constexpr int32_t kEnd = 1;

// Ids 3 to 28 are the letters.
std::string text_of(int32_t id) { return id >= 3 && id < 29 ? std::string(1, static_cast<char>('a' + id - 3)) : ""; }

std::shared_ptr<Grammars> letters(bool with_encode) {
  std::vector<std::string> texts;
  for (int32_t id = 0; id < tiny_config().vocabulary; ++id) texts.push_back(text_of(id));
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const std::vector<int32_t> ends = {kEnd};
  GrammarVocabulary vocabulary{views, ends, nullptr};
  if (with_encode) {
    vocabulary.encode = [](std::string_view text) {
      std::vector<int32_t> ids;
      for (const char c : text) ids.push_back(c - 'a' + 3);
      return ids;
    };
  }
  return Grammars::create(vocabulary, {.compile_ms = 20000}).value();
}

std::shared_ptr<Constraint> regex(Grammars& grammars, const std::string& text) {
  return std::make_shared<Constraint>(std::move(grammars.start(GrammarKind::kRegex, text).value()));
}

Request request_of(std::vector<int32_t> prompt, int32_t max_tokens, std::shared_ptr<Constraint> constraint = nullptr) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  request.constraint = std::move(constraint);
  return request;
}

// The best token at every place of those that `may` lets come: the answer must match "[a-m]{6}(n|o)" or be its beginning.
std::vector<int32_t> expected_answer(const ModelConfig& config, std::vector<int32_t> tokens) {
  std::vector<int32_t> answer;
  std::string said;
  while (answer.empty() || answer.back() != kEnd) {
    const std::vector<float> logits = FakeBackend::logits_after(config, tokens);
    int32_t best = -1;
    for (int32_t id = 0; id < config.vocabulary; ++id) {
      const std::string text = text_of(id);
      const bool letter =
          !text.empty() && (said.size() < 6 ? text[0] <= 'm' : said.size() == 6 && (text == "n" || text == "o"));
      const bool may = id == kEnd ? said.size() == 7 : letter;
      if (may && (best < 0 || logits[static_cast<size_t>(id)] > logits[static_cast<size_t>(best)])) best = id;
    }
    answer.push_back(best);
    tokens.push_back(best);
    said += text_of(best);
  }
  return answer;
}

struct Answer {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
};

std::map<RequestId, Answer> run(Engine& engine) {
  std::map<RequestId, Answer> answers;
  std::vector<Event> events;
  while (engine.step(events)) {
  }
  for (const Event& event : events) {
    EXPECT_FALSE(event.error) << event.error->message;
    if (event.token >= 0) answers[event.request].tokens.push_back(event.token);
    answers[event.request].finish = event.finish;
  }
  return answers;
}

class Constrained : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_constrain()) GTEST_SKIP() << "built without the grammar engine";
  }
  ModelConfig config = tiny_config();
};

TEST_F(Constrained, TheBestOfWhatMayComeWhoeverElseRuns) {
  const auto grammars = letters(false);
  for (const int32_t in_flight : {1, 2}) {
    FakeBackend backend(config);
    const auto engine =
        std::move(Engine::create(backend, config,
                                 {.context = 300, .max_rows = 16, .max_sequences = 4, .steps_in_flight = in_flight})
                      .value());
    std::map<RequestId, std::vector<int32_t>> expected;
    for (int32_t i = 0; i < 6; ++i) {
      const std::vector<int32_t> prompt = {2, 3 + i, 9, 4 + 2 * i};
      expected[engine->submit(request_of(prompt, 20, regex(*grammars, "[a-m]{6}(n|o)"))).value()] =
          expected_answer(config, prompt);
      expected[engine->submit(request_of(prompt, 17)).value()] = FakeBackend::continuation(config, prompt, 17);
    }
    const auto answers = run(*engine);
    ASSERT_EQ(answers.size(), expected.size());
    for (const auto& [id, answer] : answers) EXPECT_EQ(answer.tokens, expected[id]) << id;
    EXPECT_TRUE(backend.faults.empty());
  }
}

TEST_F(Constrained, WhatMustComeCostsNoStepAndIsTheSame) {
  const std::string shape = "[a-m]bcdefghijklmn[a-m]opqrstuvw";
  std::vector<std::vector<int32_t>> answers;
  std::vector<size_t> steps;
  for (const bool with_encode : {false, true}) {
    const auto grammars = letters(with_encode);
    FakeBackend backend(config);
    const auto engine =
        std::move(Engine::create(backend, config, {.context = 300, .max_rows = 64, .max_sequences = 1}).value());
    ASSERT_TRUE(engine->submit(request_of({2, 5, 6}, 100, regex(*grammars, shape))).ok());
    const Answer answer = run(*engine).begin()->second;
    EXPECT_EQ(answer.finish, FinishReason::kStop);
    answers.push_back(answer.tokens);
    steps.push_back(backend.steps.size());
    EXPECT_TRUE(backend.faults.empty());
  }
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_EQ(answers[0].size(), 25u);
  EXPECT_GE(steps[0], 25u);
  EXPECT_LE(steps[1], 5u);
}

TEST_F(Constrained, LengthEndsWhatMustComeToo) {
  const auto grammars = letters(true);
  FakeBackend backend(config);
  const auto engine = std::move(Engine::create(backend, config, {.context = 300}).value());
  ASSERT_TRUE(engine->submit(request_of({2, 5, 6}, 4, regex(*grammars, "[a-m]bcdefgh"))).ok());
  const Answer answer = run(*engine).begin()->second;
  EXPECT_EQ(answer.tokens.size(), 4u);
  EXPECT_EQ(answer.finish, FinishReason::kLength);
}

// No token of the vocabulary holds a digit: after two letters nothing may come.
TEST_F(Constrained, AMaskThatAllowsNothingEndsThatRequestAlone) {
  const auto grammars = letters(false);
  FakeBackend backend(config);
  const auto engine = std::move(Engine::create(backend, config, {.context = 300, .max_sequences = 4}).value());
  const RequestId stuck = engine->submit(request_of({2, 5, 6}, 20, regex(*grammars, "[a-m]{2}1"))).value();
  const RequestId free = engine->submit(request_of({2, 7}, 20)).value();
  std::map<RequestId, Answer> answers;
  std::vector<Event> events;
  while (engine->step(events)) {
  }
  for (const Event& event : events) {
    if (event.token >= 0) answers[event.request].tokens.push_back(event.token);
    answers[event.request].finish = event.finish;
    ASSERT_EQ(event.error.has_value(), event.finish == FinishReason::kError);
    if (!event.error) continue;
    EXPECT_EQ(event.error->message, "constrained output: no token can follow what was generated");
  }
  EXPECT_EQ(answers[stuck].finish, FinishReason::kError);
  EXPECT_EQ(answers[stuck].tokens.size(), 2u);
  EXPECT_EQ(answers[free].finish, FinishReason::kLength);
  EXPECT_EQ(answers[free].tokens, FakeBackend::continuation(config, {2, 7}, 20));
}

TEST_F(Constrained, NotWithIgnoreEos) {
  const auto grammars = letters(false);
  FakeBackend backend(config);
  const auto engine = std::move(Engine::create(backend, config, {.context = 300}).value());
  Request request = request_of({2, 5}, 10, regex(*grammars, "ab"));
  request.sampling.ignore_eos = true;
  const Result<RequestId> submitted = engine->submit(std::move(request));
  ASSERT_FALSE(submitted.ok());
  EXPECT_EQ(submitted.error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace carat
