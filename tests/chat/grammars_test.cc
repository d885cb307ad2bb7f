// A tokenizer's vocabulary under a grammar: whatever is drawn, the text has the shape, and it ends where the shape does.
#include "chat/grammars.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "formats/synth_vocabulary.h"

namespace carat::chat {
namespace {

constexpr int32_t kEos = 1, kEndOfTurn = 106;

Tokenizer tokenizer() {
  const SynthVocabulary vocabulary = invented_vocabulary(4096);
  const std::vector<std::string_view> pieces(vocabulary.pieces.begin(), vocabulary.pieces.end());
  const std::vector<uint8_t> types(vocabulary.types.begin(), vocabulary.types.end());
  return std::move(Tokenizer::from_vocabulary(pieces, vocabulary.scores, types).value());
}

TEST(Grammars, WhateverIsDrawnHasTheShape) {
  if (!can_constrain()) GTEST_SKIP() << "built without the grammar engine";
  const Tokenizer words = tokenizer();
  const std::vector<int32_t> ends = {kEos, kEndOfTurn};
  const auto made = make_grammars(words, ends, {.compile_ms = 20000});
  ASSERT_TRUE(made) << made.error().message;
  const std::vector<std::string> shapes = {"{\"name\":\"the\",\"good\":true}", "{\"name\":\"and\",\"good\":true}",
                                           "{\"name\":\"the\",\"good\":false}", "{\"name\":\"and\",\"good\":false}"};
  const char* schema =
      R"({"type": "object", "properties": {"name": {"enum": ["the", "and"]}, "good": {"type": "boolean"}},
    "required": ["name", "good"], "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}})";
  std::mt19937 random(3);
  for (int round = 0; round < 30; ++round) {
    Result<Constraint> started = (*made)->start(GrammarKind::kJsonSchema, schema);
    ASSERT_TRUE(started) << started.error().message;
    std::vector<int32_t> said;
    while (said.empty() || (said.back() != kEos && said.back() != kEndOfTurn)) {
      ASSERT_LT(said.size(), 60u);
      std::vector<uint32_t> bits(static_cast<size_t>(words.size()) / 32 + 1);
      ASSERT_TRUE(started->mask(bits));
      std::vector<int32_t> may;
      for (int32_t id = 0; id < words.size(); ++id) {
        if ((bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) == 0) continue;
        EXPECT_TRUE(id == kEos || id == kEndOfTurn || !words.is_control(id)) << id;
        may.push_back(id);
      }
      ASSERT_FALSE(may.empty());
      said.push_back(may[random() % may.size()]);
      ASSERT_TRUE(started->accept(said.back()));
      if (said.back() == kEos || said.back() == kEndOfTurn) break;
      for (const int32_t id : started->forced_tokens()) {
        ASSERT_TRUE(started->accept(id)) << id;
        said.push_back(id);
      }
    }
    said.pop_back();
    EXPECT_NE(std::find(shapes.begin(), shapes.end(), words.decode(said)), shapes.end()) << words.decode(said);
  }
}

// "\n" is a piece of its own and the byte piece <0x0A>: the model was trained on the first.
TEST(Grammars, OrdinaryPiecesGoBeforeByteOnes) {
  if (!can_constrain()) GTEST_SKIP() << "built without the grammar engine";
  const Tokenizer words = tokenizer();
  const std::vector<int32_t> ends = {kEos};
  const auto made = make_grammars(words, ends, {.compile_ms = 20000});
  ASSERT_TRUE(made) << made.error().message;
  for (const char* text : {"\n", "a", "{"}) {
    Result<Constraint> started = (*made)->start(GrammarKind::kRegex, text == std::string("{") ? "\\{" : text);
    ASSERT_TRUE(started) << started.error().message;
    std::vector<uint32_t> bits(static_cast<size_t>(words.size()) / 32 + 1);
    ASSERT_TRUE(started->mask(bits));
    std::vector<int32_t> may;
    for (int32_t id = 0; id < words.size(); ++id) {
      if ((bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) may.push_back(id);
    }
    EXPECT_EQ(may, words.encode(text)) << text;
    EXPECT_TRUE(started->accept(words.encode(text)[0]));
  }
}

}  // namespace
}  // namespace carat::chat
