// Streaming against a backend that writes a script, one id a step, whatever the prompt.
#include "chat/answer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/fake_backend.h"

namespace carat::chat {
namespace {

// A vocabulary that Tokenizer takes: control pieces, some text, and the 256 bytes from kByte on.
constexpr int32_t kByte = 20;
const std::vector<std::string_view> kTexts = {"<pad>", "<eos>", "<bos>", "<unk>", "▁", "Par", "is", "\n", "\nQ", "a"};

class AnswerTest : public ::testing::Test {
 protected:
  AnswerTest() {
    std::vector<std::string> names(kTexts.begin(), kTexts.end());
    while (names.size() < kByte) names.push_back("unused" + std::to_string(names.size()));
    for (int byte = 0; byte < 256; ++byte) names.push_back(fmt::format("<0x{:02X}>", byte));
    std::vector<uint8_t> types(names.size(), 1);
    types[0] = types[1] = types[2] = 3;
    types[3] = 2;
    std::fill(types.begin() + kByte, types.end(), uint8_t{6});
    names_ = std::move(names);
    const std::vector<std::string_view> pieces(names_.begin(), names_.end());
    const std::vector<float> scores(pieces.size(), -1.0f);
    tokenizer_.emplace(std::move(Tokenizer::from_vocabulary(pieces, scores, types).value()));
    config_.vocabulary = static_cast<int32_t>(pieces.size());
    backend_.emplace(config_);
    engine_ = std::move(Engine::create(*backend_, config_, {.context = 200}).value());
    backend_->tamper = [this](std::span<float> logits) {
      const size_t n = next_++;
      logits[static_cast<size_t>(n < script_.size() ? script_[n] : 1)] = 1000;
    };
  }

  Answer answer(std::vector<int32_t> script, std::vector<std::string> stops = {}, bool trim = false) {
    script_ = std::move(script);
    next_ = 0;
    shown_.clear();
    AnswerRequest asked;
    asked.request.prompt = {2, 5};
    asked.request.sampling.temperature = 0;
    asked.stops = std::move(stops);
    asked.trim_leading_space = trim;
    return stream_answer(
               *engine_, *tokenizer_, std::move(asked), [this] { return cancelled_; },
               [this](std::string_view text) { on_text(text); })
        .value();
  }
  virtual void on_text(std::string_view text) { shown_.emplace_back(text); }

  ModelConfig config_ = tiny_config();
  std::vector<std::string> names_;
  std::optional<FakeBackend> backend_;
  std::optional<Tokenizer> tokenizer_;
  std::unique_ptr<Engine> engine_;
  bool cancelled_ = false;
  std::vector<int32_t> script_;
  size_t next_ = 0;
  std::vector<std::string> shown_;
};

TEST_F(AnswerTest, StreamsPieceByPieceUntilTheEndToken) {
  const Answer got = answer({5, 6, 7});
  EXPECT_EQ(shown_, (std::vector<std::string>{"Par", "is", "\n"}));
  EXPECT_EQ(got.text, "Paris\n");
  EXPECT_EQ(got.finish, FinishReason::kStop);
  EXPECT_EQ(got.tokens, (std::vector<int32_t>{5, 6, 7, 1}));
  EXPECT_EQ(got.usage.generated_tokens, 4);
}

TEST_F(AnswerTest, AStopStringAcrossTokensIsNeverShown) {
  const Answer got = answer({5, 6, 8, 9, 5, 5}, {"\nQa", "never"});
  EXPECT_EQ(got.text, "Paris");
  EXPECT_EQ(got.finish, FinishReason::kStop);
  EXPECT_EQ(got.tokens.size(), 4u);
  EXPECT_EQ(engine_->running(), 0);
}

TEST_F(AnswerTest, WhatOnlyLookedLikeAStopStringIsShownAtTheEnd) {
  EXPECT_EQ(answer({5, 8}, {"\nQuestion"}).text, "Par\nQ");
}

TEST_F(AnswerTest, CodePointsStayWhole) {
  const Answer got = answer({5, kByte + 0xE2, kByte + 0x82, kByte + 0xAC, 6});
  EXPECT_EQ(got.text, "Par€is");
  for (const std::string& piece : shown_)
    EXPECT_TRUE(piece == "Par" || piece.find("€") != std::string::npos || piece == "is");
  EXPECT_EQ(answer({5, kByte + 0xE2, kByte + 0x82}).text, "Par\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_F(AnswerTest, LeadingSpaceIsTrimmedOnlyWhenAsked) {
  EXPECT_EQ(answer({4, 4, 5, 4, 6}, {}, true).text, "Par is");
  EXPECT_EQ(answer({4, 5}).text, " Par");
  EXPECT_EQ(answer({4, 7}, {}, true).text, "");
}

class InterruptedAnswerTest : public AnswerTest {
  void on_text(std::string_view text) override {
    AnswerTest::on_text(text);
    if (shown_.size() == 3) cancelled_ = true;
  }
};

TEST_F(InterruptedAnswerTest, CtrlCEndsTheAnswerAndFreesTheEngine) {
  const Answer got = answer(std::vector<int32_t>(100, 9));
  EXPECT_EQ(got.finish, FinishReason::kCancelled);
  EXPECT_EQ(got.text, "aaa");
  EXPECT_EQ(engine_->running(), 0);
}

}  // namespace
}  // namespace carat::chat
