#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/random.h"
#include "engine/fake_backend.h"

namespace carat {
namespace {

std::vector<int32_t> prompt_of(size_t length, uint64_t seed = 1) {
  std::vector<int32_t> prompt{2};
  while (prompt.size() < length) prompt.push_back(3 + static_cast<int32_t>(uniform_draw(seed, prompt.size()) * 20));
  return prompt;
}

Request greedy(std::vector<int32_t> prompt, int32_t max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  return request;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  FinishReason finish = FinishReason::kNone;
  std::optional<Error> error;
  Usage usage;
};

std::map<RequestId, Answer> run(Engine& engine) {
  std::map<RequestId, Answer> answers;
  std::vector<Event> events;
  while (engine.step(events)) {
  }
  for (const Event& event : events) {
    Answer& answer = answers[event.request];
    EXPECT_EQ(answer.finish, FinishReason::kNone) << "an event after the last";
    if (event.token >= 0) answer.tokens.push_back(event.token);
    answer.logprobs.push_back(event.logprob);
    answer.finish = event.finish;
    answer.error = event.error;
    answer.usage = event.usage;
  }
  return answers;
}

struct Rig {
  explicit Rig(EngineOptions options, const ModelConfig& model = tiny_config())
      : config(model), backend(config), engine(std::move(Engine::create(backend, config, options).value())) {}
  ~Rig() {
    EXPECT_TRUE(backend.faults.empty()) << backend.faults.size() << " faults, the first: " << backend.faults.front();
  }
  ModelConfig config;
  FakeBackend backend;
  std::unique_ptr<Engine> engine;
};

std::string error_of(const Result<RequestId>& result) { return result.ok() ? "" : result.error().message; }

TEST(Engine, GreedyAnswersDoNotDependOnChunksOrContexts) {
  const ModelConfig config = tiny_config();
  for (size_t length : {1, 2, 63, 64, 65, 99, 100, 101, 203, 700}) {
    const auto prompt = prompt_of(length);
    const auto expected = FakeBackend::continuation(config, prompt, 90);
    for (int32_t chunk : {1, 7, 64, 256}) {
      Rig rig({.context = 1000, .max_rows = chunk});
      ASSERT_TRUE(rig.engine->submit(greedy(prompt, 90)).ok());
      const Answer answer = run(*rig.engine).begin()->second;
      ASSERT_EQ(answer.tokens, expected) << length << " in chunks of " << chunk;
      EXPECT_EQ(answer.finish, FinishReason::kLength);
      EXPECT_EQ(answer.usage.prompt_tokens, static_cast<int32_t>(length));
      EXPECT_EQ(answer.usage.generated_tokens, 90);
    }
  }
}

TEST(Engine, GreedyAnswersDoNotDependOnWhoElseRuns) {
  Rig rig({.context = 500, .max_rows = 32, .max_sequences = 3});
  std::map<RequestId, std::vector<int32_t>> expected;
  for (uint64_t i = 0; i < 9; ++i) {
    const auto prompt = prompt_of(5 + 40 * i, i);
    const auto count = static_cast<int32_t>(10 + 13 * i % 40);
    const RequestId id = rig.engine->submit(greedy(prompt, count)).value();
    expected[id] = FakeBackend::continuation(rig.config, prompt, count);
  }
  const auto answers = run(*rig.engine);
  ASSERT_EQ(answers.size(), expected.size());
  for (const auto& [id, answer] : answers) EXPECT_EQ(answer.tokens, expected[id]) << id;
}

TEST(Engine, DecodingGoesOnWhileALongPromptIsRead) {
  Rig rig({.context = 1000, .max_rows = 16, .max_sequences = 2});
  ASSERT_TRUE(rig.engine->submit(greedy(prompt_of(4), 20)).ok());
  std::vector<Event> events;
  rig.engine->step(events);  // its first token is being computed
  ASSERT_TRUE(rig.engine->submit(greedy(prompt_of(200), 3)).ok());
  for (int i = 0; i < 10; ++i) {
    events.clear();
    rig.engine->step(events);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(rig.backend.steps.back(), (std::vector<int32_t>{1, 15}));
  }
  run(*rig.engine);
}

// A run of ids that is barred never comes, whatever else does; what precedes it may. Beside it somebody is free.
TEST(Engine, RulesSayWhatMayCome) {
  const auto prompt = prompt_of(30);
  const auto free = FakeBackend::continuation(tiny_config(), prompt, 40);
  Rig rig({.context = 500, .max_rows = 32, .max_sequences = 4});
  Request no_pair = greedy(prompt, 40), no_single = no_pair, only_some = no_pair, alone = no_pair;
  no_pair.rules.barred = {{free[4], free[5]}};
  no_single.rules.barred = {{free[0]}};
  only_some.rules.only = {5, 6, 7, 33};
  only_some.rules.barred = {{7, 7}};
  std::map<RequestId, std::string> names;
  names[rig.engine->submit(std::move(no_pair)).value()] = "pair";
  names[rig.engine->submit(std::move(no_single)).value()] = "single";
  names[rig.engine->submit(std::move(only_some)).value()] = "some";
  names[rig.engine->submit(std::move(alone)).value()] = "free";
  for (const auto& [id, answer] : run(*rig.engine)) {
    const auto& tokens = answer.tokens;
    if (names[id] == "free") {
      EXPECT_EQ(tokens, free);
    } else if (names[id] == "pair") {
      EXPECT_TRUE(std::equal(tokens.begin(), tokens.begin() + 5, free.begin()));
      EXPECT_NE(tokens[5], free[5]);
      const std::vector<int32_t> pair{free[4], free[5]};
      EXPECT_EQ(std::search(tokens.begin(), tokens.end(), pair.begin(), pair.end()), tokens.end());
    } else if (names[id] == "single") {
      EXPECT_EQ(std::count(tokens.begin(), tokens.end(), free[0]), 0);
    } else {
      for (size_t i = 0; i < tokens.size(); ++i) {
        EXPECT_TRUE(tokens[i] == 5 || tokens[i] == 6 || tokens[i] == 7 || tokens[i] == 33) << tokens[i];
        EXPECT_FALSE(i > 0 && tokens[i] == 7 && tokens[i - 1] == 7);
      }
      EXPECT_EQ(tokens.size(), 40u);
    }
  }
  Request stranger = greedy(prompt, 4), nothing = stranger, none_left = stranger;
  stranger.rules.only = {40};
  nothing.rules.barred = {{}};
  none_left.rules.only = {7};
  none_left.rules.barred = {{7}};
  EXPECT_NE(error_of(rig.engine->submit(std::move(stranger))).find("token 40"), std::string::npos);
  EXPECT_NE(error_of(rig.engine->submit(std::move(nothing))).find("bars no token"), std::string::npos);
  ASSERT_TRUE(rig.engine->submit(std::move(none_left)).ok());
  EXPECT_EQ(run(*rig.engine).begin()->second.error->code, ErrorCode::kInvalidArgument);
}

TEST(Engine, AllPagesComeBack) {
  Rig rig({.context = 300, .max_rows = 32, .max_sequences = 2});
  const int32_t global = rig.engine->free_global_pages(), local = rig.engine->free_local_pages();
  std::vector<Event> events;
  std::vector<RequestId> ids;
  for (uint64_t i = 0; i < 200; ++i) {
    if (uniform_draw(3, i) < 0.4) {
      const auto length = static_cast<size_t>(1 + 250 * uniform_draw(4, i));
      ids.push_back(rig.engine->submit(greedy(prompt_of(length, i), static_cast<int32_t>(i % 60))).value());
    }
    if (!ids.empty() && uniform_draw(5, i) < 0.2) rig.engine->cancel(ids[i % ids.size()]);
    rig.engine->step(events);
  }
  run(*rig.engine);
  EXPECT_EQ(rig.engine->running(), 0);
  rig.engine->clear_cache();
  EXPECT_EQ(rig.engine->free_global_pages(), global);
  EXPECT_EQ(rig.engine->free_local_pages(), local);
}

TEST(Engine, StopsAtTheModelsEndAndAtStopIds) {
  Rig rig({.context = 100});
  const auto prompt = prompt_of(10);
  const auto plain = FakeBackend::continuation(rig.config, prompt, 20);
  Request request = greedy(prompt, 20);
  request.sampling.stop_ids = {plain[4]};
  ASSERT_TRUE(rig.engine->submit(request).ok());
  const Answer stopped = run(*rig.engine).begin()->second;
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  const auto first = std::find(plain.begin(), plain.end(), plain[4]);
  EXPECT_EQ(stopped.tokens, std::vector<int32_t>(plain.begin(), first + 1));

  rig.backend.tamper = [](std::span<float> logits) { logits[26] = 100; };
  const RequestId ends = rig.engine->submit(greedy(prompt, 20)).value();
  request = greedy(prompt, 20);
  request.sampling.ignore_eos = true;
  const RequestId goes_on = rig.engine->submit(request).value();
  request = greedy(prompt, 20);
  request.sampling.min_tokens = 7;
  const RequestId later = rig.engine->submit(request).value();
  auto answers = run(*rig.engine);
  EXPECT_EQ(answers[ends].tokens, std::vector<int32_t>{26});
  EXPECT_EQ(answers[ends].finish, FinishReason::kStop);
  EXPECT_EQ(answers[goes_on].tokens, std::vector<int32_t>(20, 26));
  EXPECT_EQ(answers[goes_on].finish, FinishReason::kLength);
  EXPECT_EQ(answers[later].tokens.size(), 8u);
  EXPECT_EQ(answers[later].finish, FinishReason::kStop);
}

TEST(Engine, AFullContextEndsTheAnswer) {
  Rig rig({.context = 50});
  ASSERT_TRUE(rig.engine->submit(greedy(prompt_of(40), -1)).ok());
  const Answer answer = run(*rig.engine).begin()->second;
  EXPECT_EQ(answer.tokens.size(), 10u);
  EXPECT_EQ(answer.finish, FinishReason::kLength);
}

TEST(Engine, TooLongAPromptIsRefusedNamingBothLengths) {
  Rig rig({.context = 50});
  const auto result = rig.engine->submit(greedy(prompt_of(50), 1));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kTooLong);
  EXPECT_EQ(error_of(result), "the prompt has 50 tokens, and a context of 50 has room for 49");
  EXPECT_TRUE(rig.engine->submit(greedy(prompt_of(49), 1)).ok());
  EXPECT_TRUE(rig.engine->submit(greedy(prompt_of(50), 0)).ok());
  EXPECT_NE(error_of(rig.engine->submit(greedy(prompt_of(51), 0))), "");
  run(*rig.engine);
}

TEST(Engine, BadRequestsAreRefused) {
  Rig rig({.context = 50});
  EXPECT_EQ(error_of(rig.engine->submit(greedy({}, 1))), "the prompt is empty");
  EXPECT_EQ(error_of(rig.engine->submit(greedy({2, 40}, 1))), "the prompt holds token 40, expected ids from 0 to 39");
  EXPECT_EQ(error_of(rig.engine->submit(greedy({2, -1}, 1))), "the prompt holds token -1, expected ids from 0 to 39");
  Request request = greedy({2}, 1);
  request.sampling.top_p = 2;
  EXPECT_EQ(error_of(rig.engine->submit(request)), "top_p is 2, expected 0 to 1");
  request = greedy({2}, 1);
  request.observe_from = 1;
  EXPECT_NE(error_of(rig.engine->submit(request)), "");
}

TEST(Engine, BadOptionsAreRefused) {
  const ModelConfig config = tiny_config();
  FakeBackend backend(config);
  for (const EngineOptions& bad :
       {EngineOptions{.context = 0}, EngineOptions{.context = 2001}, EngineOptions{.max_rows = 0},
        EngineOptions{.max_rows = 1 << 20}, EngineOptions{.max_sequences = 0}, EngineOptions{.max_sequences = 5000}}) {
    EXPECT_FALSE(Engine::create(backend, config, bad).ok());
  }
}

TEST(Engine, ObserverSeesEveryPositionOnce) {
  for (int32_t from : {-1, 0, 37}) {
    Rig rig({.context = 300, .max_rows = 64, .max_logits_rows = 8});
    const auto prompt = prompt_of(150);
    std::map<int32_t, std::vector<float>> seen;
    Request request = greedy(prompt, 5);
    request.observe_from = from;
    request.on_logits = [&](int32_t position, std::span<const float> logits) {
      EXPECT_TRUE(seen.emplace(position, std::vector<float>(logits.begin(), logits.end())).second);
    };
    ASSERT_TRUE(rig.engine->submit(request).ok());
    auto tokens = prompt;
    const Answer answer = run(*rig.engine).begin()->second;
    tokens.insert(tokens.end(), answer.tokens.begin(), answer.tokens.end());
    const int32_t first = from < 0 ? 149 : from;
    ASSERT_EQ(seen.size(), static_cast<size_t>(154 - first));
    for (const auto& [position, logits] : seen) {
      const std::vector<int32_t> before(tokens.begin(), tokens.begin() + position + 1);
      ASSERT_EQ(logits, FakeBackend::logits_after(rig.config, before)) << position;
    }
    EXPECT_LE(rig.backend.most_logits_rows, 8u);
  }
}

TEST(Engine, NoTokensAskedForComputesThePromptOnly) {
  Rig rig({.context = 300});
  ASSERT_TRUE(rig.engine->submit(greedy(prompt_of(150), 0)).ok());
  const Answer answer = run(*rig.engine).begin()->second;
  EXPECT_TRUE(answer.tokens.empty());
  EXPECT_EQ(answer.finish, FinishReason::kLength);
  EXPECT_EQ(rig.backend.rows_computed, 150);
  EXPECT_EQ(rig.backend.most_logits_rows, 0u);
}

TEST(Engine, CancelEndsWhereverTheRequestIs) {
  Rig rig({.context = 600, .max_rows = 32, .max_sequences = 1});
  const int32_t free_pages = rig.engine->free_global_pages();
  const RequestId running = rig.engine->submit(greedy(prompt_of(500), 10)).value();
  const RequestId waiting = rig.engine->submit(greedy(prompt_of(5), 10)).value();
  const RequestId last = rig.engine->submit(greedy(prompt_of(6), 4)).value();
  std::vector<Event> events;
  rig.engine->step(events);
  EXPECT_TRUE(events.empty());  // mid-prefill
  EXPECT_TRUE(rig.engine->cancel(running));
  EXPECT_TRUE(rig.engine->cancel(waiting));
  EXPECT_FALSE(rig.engine->cancel(running));
  EXPECT_FALSE(rig.engine->cancel(999));
  rig.engine->clear_cache();
  EXPECT_EQ(rig.engine->free_global_pages(), free_pages);
  auto answers = run(*rig.engine);
  EXPECT_EQ(answers[running].finish, FinishReason::kCancelled);
  EXPECT_EQ(answers[waiting].finish, FinishReason::kCancelled);
  EXPECT_EQ(answers[last].tokens.size(), 4u);
}

TEST(Engine, TheSameSeedGivesTheSameTokensAloneAndInCompany) {
  Request request = greedy(prompt_of(30), 40);
  request.sampling = {};
  request.sampling.seed = 7;
  request.sampling.max_tokens = 40;
  Rig alone({.context = 200});
  ASSERT_TRUE(alone.engine->submit(request).ok());
  const Answer expected = run(*alone.engine).begin()->second;

  Rig shared({.context = 200, .max_rows = 8, .max_sequences = 3});
  ASSERT_TRUE(shared.engine->submit(greedy(prompt_of(100), 50)).ok());
  const RequestId id = shared.engine->submit(request).value();
  ASSERT_TRUE(shared.engine->submit(greedy(prompt_of(90), 50)).ok());
  EXPECT_EQ(run(*shared.engine)[id].tokens, expected.tokens);
}

TEST(Engine, BrokenLogitsEndTheRequestWithAnError) {
  Rig rig({.context = 100});
  for (size_t bad : {0, 17, 39}) {
    rig.backend.tamper = [&](std::span<float> logits) { logits[bad] = std::numeric_limits<float>::quiet_NaN(); };
    ASSERT_TRUE(rig.engine->submit(greedy(prompt_of(10), 5)).ok());
    const Answer answer = run(*rig.engine).begin()->second;
    EXPECT_EQ(answer.finish, FinishReason::kError);
    ASSERT_TRUE(answer.error);
    EXPECT_EQ(answer.error->code, ErrorCode::kCorruptFile);
  }
}

TEST(Engine, ObserversNeverSeeWhatIsNotFinite) {
  Rig rig({.context = 100});
  rig.backend.tamper = [](std::span<float> logits) { logits[3] = std::numeric_limits<float>::infinity(); };
  Request request = greedy(prompt_of(10), 0);
  request.observe_from = 4;
  request.on_logits = [](int32_t, std::span<const float>) { ADD_FAILURE() << "observed"; };
  ASSERT_TRUE(rig.engine->submit(request).ok());
  EXPECT_EQ(run(*rig.engine).begin()->second.finish, FinishReason::kError);
}

TEST(Engine, TheNextStepIsSubmittedBeforeTheLastIsWaitedFor) {
  std::map<int32_t, std::map<RequestId, Answer>> answers;
  std::string order;
  for (int32_t in_flight : {1, 2}) {
    Rig rig({.context = 400, .max_rows = 32, .max_sequences = 3, .steps_in_flight = in_flight});
    for (uint64_t i = 0; i < 5; ++i) {
      Request request = greedy(prompt_of(20 + 50 * i, i), 25);
      if (i % 2 == 1) {  // what depends on the history and the number of a token
        request.sampling.temperature = 1;
        request.sampling.seed = i;
        request.sampling.repetition_penalty = 1.3f;
        request.sampling.frequency_penalty = 0.5f;
        request.sampling.repeat_last_n = i == 1 ? 3 : -1;
        request.sampling.logprobs = true;
      }
      ASSERT_TRUE(rig.engine->submit(request).ok());
    }
    answers[in_flight] = run(*rig.engine);
    order = rig.backend.order;
    if (in_flight == 1) {
      EXPECT_EQ(order.find("ss"), std::string::npos);
    }
  }
  for (const auto& [id, answer] : answers[1]) {
    EXPECT_EQ(answers[2][id].tokens, answer.tokens) << id;
    EXPECT_EQ(answers[2][id].logprobs, answer.logprobs) << id;
  }
  // Always one behind the other, until there is no more to submit.
  EXPECT_EQ(order.substr(0, 2), "ss");
  EXPECT_EQ(order.find("ww"), order.size() - 2) << order;
}

TEST(Engine, AFailedStepEndsWhatItComputedAndNothingElse) {
  Rig rig({.context = 300, .max_rows = 32, .max_sequences = 2});
  const RequestId first = rig.engine->submit(greedy(prompt_of(20, 1), 10)).value();
  const RequestId second = rig.engine->submit(greedy(prompt_of(20, 2), 10)).value();
  rig.backend.fails = [](size_t step) { return step == 3; };
  auto answers = run(*rig.engine);
  for (const RequestId id : {first, second}) {
    EXPECT_EQ(answers[id].finish, FinishReason::kError);
    EXPECT_EQ(answers[id].error.value().message, "the device is gone");
  }
  rig.backend.fails = nullptr;
  ASSERT_TRUE(rig.engine->submit(greedy(prompt_of(20, 1), 10)).ok());
  EXPECT_EQ(run(*rig.engine).begin()->second.tokens, FakeBackend::continuation(rig.config, prompt_of(20, 1), 10));
}

TEST(Engine, WhenPagesRunOutTheYoungestIsComputedAgainWithTheSameText) {
  // Three answers of 300 tokens need 5 pages each at their end; there are 9.
  EngineOptions options{.context = 400, .max_rows = 64, .max_sequences = 3};
  options.global_pages = 9;
  Rig rig(options);
  std::map<RequestId, std::vector<int32_t>> expected;
  for (uint64_t i = 0; i < 4; ++i) {
    const RequestId id = rig.engine->submit(greedy(prompt_of(20, i), 280)).value();
    expected[id] = FakeBackend::continuation(rig.config, prompt_of(20, i), 280);
  }
  auto answers = run(*rig.engine);
  EXPECT_GT(rig.engine->preemptions(), 0u);
  for (const auto& [id, tokens] : expected) {
    EXPECT_EQ(answers[id].tokens, tokens) << id;
    EXPECT_EQ(answers[id].finish, FinishReason::kLength);
    EXPECT_EQ(answers[id].usage.prompt_tokens, 20);
  }
}

TEST(Engine, AHigherPriorityIsAdmittedFirst) {
  Rig rig({.context = 100});
  std::vector<RequestId> ids;
  for (int32_t priority : {0, 0, 5, -1, 5}) {
    Request request = greedy(prompt_of(5), 1);
    request.priority = priority;
    ids.push_back(rig.engine->submit(request).value());
  }
  std::vector<Event> events;
  while (rig.engine->step(events)) {
  }
  std::vector<RequestId> order;
  for (const Event& event : events) order.push_back(event.request);
  EXPECT_EQ(order, (std::vector<RequestId>{ids[2], ids[4], ids[0], ids[1], ids[3]}));
}

TEST(Engine, PicturesAreNeverCutAndSeeThemselvesWhole) {
  Rig rig({.context = 400, .max_rows = 32});
  const auto picture = [](int32_t begin, int32_t rows, float value) {
    ImageSpan image;
    image.begin = begin;
    image.end = begin + rows;
    image.hash = static_cast<uint64_t>(value * 1000);
    image.embeddings = std::make_shared<std::vector<float>>(static_cast<size_t>(rows), value);
    return image;
  };
  Request request = greedy(prompt_of(100), 0);
  request.images = {picture(20, 30, 7), picture(60, 16, 9)};
  std::map<int32_t, std::vector<float>> seen;
  request.observe_from = 0;
  request.on_logits = [&](int32_t position, std::span<const float> logits) {
    seen[position].assign(logits.begin(), logits.end());
  };
  ASSERT_TRUE(rig.engine->submit(request).ok());
  run(*rig.engine);
  EXPECT_EQ(rig.backend.steps, (std::vector<std::vector<int32_t>>{{20}, {32}, {32}, {16}}));
  std::vector<int32_t> tokens = prompt_of(100);
  std::fill(tokens.begin() + 20, tokens.begin() + 50, 1007);
  std::fill(tokens.begin() + 60, tokens.begin() + 76, 1009);
  const auto first = [&](int32_t count) { return std::vector<int32_t>(tokens.begin(), tokens.begin() + count); };
  EXPECT_EQ(seen[19], FakeBackend::logits_after(rig.config, first(20)));
  for (int32_t position : {20, 33, 49}) EXPECT_EQ(seen[position], FakeBackend::logits_after(rig.config, first(50)));
  EXPECT_EQ(seen[50], FakeBackend::logits_after(rig.config, first(51)));

  // The cache knows pictures by what they show, and goes back to their beginning.
  const auto reused = [&](float value, int32_t prompt) {
    Request again = greedy(prompt_of(static_cast<size_t>(prompt)), 1);
    again.images = {picture(20, 30, value)};
    EXPECT_TRUE(rig.engine->submit(again).ok());
    return run(*rig.engine).begin()->second.usage.reused_tokens;
  };
  EXPECT_EQ(reused(8, 55), 20);
  EXPECT_EQ(reused(7, 55), 54);
  EXPECT_EQ(reused(7, 51), 50);

  request.images = {picture(20, 33, 7)};
  EXPECT_EQ(error_of(rig.engine->submit(request)), "a picture of 33 rows does not fit a step of 32");
  request.images = {picture(90, 20, 7)};
  EXPECT_FALSE(rig.engine->submit(request).ok());
}

TEST(Engine, HiddenStatesOfThePromptAreObserved) {
  Rig rig({.context = 300, .max_rows = 32});
  Request request = greedy(prompt_of(100), 0);
  request.hidden_from = 10;
  std::map<int32_t, float> seen;
  request.on_hidden = [&](int32_t position, std::span<const float> values) {
    EXPECT_EQ(values.size(), 1u);
    EXPECT_TRUE(seen.emplace(position, values[0]).second);
  };
  ASSERT_TRUE(rig.engine->submit(request).ok());
  run(*rig.engine);
  ASSERT_EQ(seen.size(), 90u);
  const auto tokens = prompt_of(100);
  const std::vector<int32_t> before(tokens.begin(), tokens.begin() + 43);
  EXPECT_EQ(seen[42], FakeBackend::logits_after(rig.config, before)[0]);
}

}  // namespace
}  // namespace carat
