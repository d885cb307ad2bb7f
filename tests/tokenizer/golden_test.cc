// Every golden text, from each kind of vocabulary: Hugging Face's ids, its decoded text, and the same text as a stream.
#include <gtest/gtest.h>

#include <sstream>

#include "base/json.h"
#include "base/utf8.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/gemma_vocabulary.h"
#include "tokenizer/small_vocabulary.h"
#include "tokenizer/vocabulary.h"

namespace carat {
namespace {

struct Case {
  std::string text;
  std::vector<int32_t> ids;
  std::string decoded;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    std::vector<Case> read;
    std::istringstream lines(read_text(golden_file("cases.jsonl")));
    for (std::string line; std::getline(lines, line);) {
      const auto json = nlohmann::json::parse(line);
      read.push_back({json["text"], json["ids"], json["decoded"]});
    }
    return read;
  }();
  return all;
}

void expect_golden(const Tokenizer& tokenizer) {
  ASSERT_EQ(cases().size(), 845U);
  for (const Case& c : cases()) {
    EXPECT_EQ(tokenizer.encode_with_control(c.text), c.ids) << c.text;
    EXPECT_EQ(tokenizer.decode(c.ids, true), c.decoded);
    const TextSpan whole{c.text, true};
    EXPECT_EQ(tokenizer.encode(std::span(&whole, 1)), c.ids) << c.text;
  }
}

TEST(Golden, FromGguf) { expect_golden(gemma_tokenizer()); }

// Ollama's converter calls user-defined pieces normal ones and gives them a score of 0; some others call everything normal.
TEST(Golden, FromTheTypesThatOllamaWrites) {
  PieceList pieces = gemma_pieces_of_gguf();
  for (size_t id = 0; id < pieces.types.size(); ++id) {
    if (pieces.types[id] != static_cast<uint8_t>(PieceType::kUserDefined)) continue;
    pieces.types[id] = static_cast<uint8_t>(PieceType::kNormal);
    pieces.scores[id] = 0;
  }
  const auto ollama = tokenizer_of(pieces);
  ASSERT_TRUE(ollama.ok()) << ollama.error().message;
  expect_golden(*ollama);
  for (uint8_t& type : pieces.types) type = static_cast<uint8_t>(PieceType::kNormal);
  const auto normal = tokenizer_of(pieces);
  ASSERT_TRUE(normal.ok()) << normal.error().message;
  expect_golden(*normal);
}

TEST(Golden, EveryUserDefinedPieceIsKnownByItself) {
  const PieceList& right = gemma_pieces();
  PieceList wrong = gemma_pieces_of_gguf();
  for (uint8_t& type : wrong.types) type = static_cast<uint8_t>(PieceType::kNormal);
  const std::vector<std::string_view> views(wrong.pieces.begin(), wrong.pieces.end());
  const auto vocabulary = Vocabulary::build(views, wrong.scores, wrong.types);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.error().message;
  for (int32_t id = 0; id < 262144; ++id) {
    const auto type = static_cast<PieceType>(right.types[static_cast<size_t>(id)]);
    EXPECT_EQ(vocabulary->is_byte(id), type == PieceType::kByte) << id;
    if (type != PieceType::kUserDefined) continue;
    const bool marker = vocabulary->is_control(id);  // <unused7>, <mask>: Carat's own choice
    EXPECT_TRUE(marker || vocabulary->type(id) == PieceType::kUserDefined) << id;
  }
}

// In any other vocabulary the file's types stand.
TEST(Golden, PiecesOfAnotherVocabularyAreLeftAsTheyAre) {
  SmallVocabulary small;
  const int32_t tag = small.add("<h1>");
  const auto vocabulary = small.build();
  ASSERT_TRUE(vocabulary.ok());
  EXPECT_EQ(vocabulary->type(tag), PieceType::kNormal);
}

TEST(Golden, FromTokenizerJson) {
  const auto tokenizer = Tokenizer::from_file(gemma_tokenizer_json());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  expect_golden(*tokenizer);
}

TEST(Golden, FromSentencePieceModel) {
  PieceList pieces = gemma_pieces_of_gguf();
  for (size_t id = 0; id < pieces.pieces.size(); ++id) {  // SentencePiece writes U+2581, not spaces
    if (!pieces.pieces[id].starts_with("  ")) continue;
    std::string marked;
    for (size_t i = 0; i < pieces.pieces[id].size(); ++i) marked += kWordBoundaryUtf8;
    pieces.pieces[id] = marked;
  }
  const TemporaryFile file(sentencepiece_model_of(pieces));
  const auto tokenizer = Tokenizer::from_file(file.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  expect_golden(*tokenizer);
}

TEST(Golden, AllFormsAgreeOnEveryPiece) {
  const auto json = Tokenizer::from_file(gemma_tokenizer_json());
  ASSERT_TRUE(json.ok()) << json.error().message;
  const Tokenizer& gguf = gemma_tokenizer();
  ASSERT_EQ(json->size(), 262145);
  ASSERT_EQ(gguf.size(), 262145);
  for (int32_t id = 0; id < gguf.size(); ++id) {
    ASSERT_EQ(json->piece_text(id, true), gguf.piece_text(id, true)) << id;
    ASSERT_EQ(json->is_control(id), gguf.is_control(id)) << gguf.piece_text(id, true);
    ASSERT_EQ(json->is_byte(id), gguf.is_byte(id)) << id;
  }
}

TEST(Golden, Streams) {
  for (const Case& c : cases()) {
    for (const bool with_control : {false, true}) {
      Detokenizer detokenizer(gemma_tokenizer(), with_control);
      std::string text;
      for (const int32_t id : c.ids) {
        const std::string part = detokenizer.push(id);
        EXPECT_TRUE(is_valid_utf8(part)) << c.text;
        text += part;
      }
      text += detokenizer.finish();
      EXPECT_EQ(text, gemma_tokenizer().decode(c.ids, with_control));
    }
  }
}

// What typed text becomes reads as the text again, whatever markers it holds. (U+2581 reads as a space: to
// SentencePiece they are the same.)
TEST(Golden, TypedTextRoundTrips) {
  for (const Case& c : cases()) {
    std::string expected;
    append_with_spaces(c.text, expected);
    EXPECT_EQ(gemma_tokenizer().decode(gemma_tokenizer().encode(c.text)), expected);
  }
}

}  // namespace
}  // namespace carat
