// The fast encoder against the definition: random vocabularies whose pieces overlap in every way, random texts, and
// Gemma's vocabulary on texts that reach the cuts, the cache, the windows and their borders.
#include "tokenizer/bpe_encoder.h"

#include <gtest/gtest.h>

#include <random>

#include "tokenizer/gemma_vocabulary.h"
#include "tokenizer/reference_bpe.h"
#include "tokenizer/small_vocabulary.h"

namespace carat {
namespace {

using Random = std::mt19937;

std::string random_text(Random& random, const std::vector<std::string>& alphabet, size_t characters) {
  std::string text;
  for (size_t i = 0; i < characters; ++i) text += alphabet[random() % alphabet.size()];
  return text;
}

// Pieces are joined from earlier pieces, as training does it, so that merges reach most of them.
SmallVocabulary random_vocabulary(Random& random, const std::vector<std::string>& alphabet, size_t size) {
  SmallVocabulary vocabulary;
  const size_t first = vocabulary.list.pieces.size();
  std::vector<float> scores(size);
  for (size_t i = 0; i < size; ++i) scores[i] = -static_cast<float>(i / (1 + random() % 3));  // some are equal
  std::shuffle(scores.begin(), scores.end(), random);
  for (size_t i = 0; i < size; ++i) {
    std::string piece;
    if (i < alphabet.size()) {
      piece = alphabet[i];
    } else {
      const auto any = [&] {
        return vocabulary.list.pieces[first + random() % (vocabulary.list.pieces.size() - first)];
      };
      piece = any() + any();
      if (piece.size() > 40) piece = alphabet[random() % alphabet.size()] + alphabet[random() % alphabet.size()];
    }
    vocabulary.add(piece, random() % 12 == 0 ? PieceType::kUserDefined : PieceType::kNormal, scores[i]);
  }
  return vocabulary;
}

void expect_equal(const Vocabulary& vocabulary, BpeEncoder& encoder, const std::string& text) {
  std::vector<int32_t> ids;
  encoder.encode(text, ids);
  ASSERT_EQ(ids, reference_bpe(vocabulary, text)) << text.substr(0, 200);
}

TEST(BpeEncoder, EqualsTheDefinitionOnRandomVocabularies) {
  const std::vector<std::string> alphabet{"a", "b", "c", " ", "é", "的", "😀"};
  const std::vector<std::string> input{"a", "b", "c", " ", "é", "的", "😀", "a", "b", "x", "ß", "\xFF", "\xE7\x9A"};
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    const std::vector<std::string> used(alphabet.begin(), alphabet.begin() + 1 + static_cast<ptrdiff_t>(random() % 7));
    const auto vocabulary = random_vocabulary(random, used, used.size() + random() % 60).build();
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.error().message;
    BpeEncoder encoder(*vocabulary);
    for (int i = 0; i < 20; ++i) {
      expect_equal(*vocabulary, encoder, random_text(random, input, random() % 100));
      expect_equal(*vocabulary, encoder, random_text(random, used, random() % 150));
    }
  }
}

// Long enough for several windows of 4,096 bytes.
TEST(BpeEncoder, EqualsTheDefinitionAcrossWindows) {
  Random random(2);
  for (int round = 0; round < 12; ++round) {
    std::vector<std::string> alphabet{"a", "b", "c"};
    alphabet.resize(1 + static_cast<size_t>(round) % 3);
    const auto vocabulary = random_vocabulary(random, alphabet, 40).build();
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.error().message;
    BpeEncoder encoder(*vocabulary);
    expect_equal(*vocabulary, encoder, random_text(random, alphabet, 4500 + random() % 1500));
  }
}

// Every pair of a long sequence of different characters is a piece, and pairs to the right merge first: which
// characters pair up at the beginning depends on the far end. No border between windows holds, so the text has to be
// merged at once.
TEST(BpeEncoder, EqualsTheDefinitionWhereNoBorderHolds) {
  constexpr int kCharacters = 3001;
  std::vector<std::string> characters;
  for (int i = 0; i < kCharacters; ++i) {
    const int code = 0x4E00 + i;
    characters.push_back({static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
                          static_cast<char>(0x80 | (code & 0x3F))});
  }
  SmallVocabulary small;
  std::string text;
  for (const std::string& character : characters) {
    small.add(character);
    text += character;
  }
  for (size_t i = 0; i + 1 < characters.size(); ++i) {
    small.add(characters[i] + characters[i + 1], PieceType::kNormal, static_cast<float>(i));
  }
  const auto vocabulary = small.build();
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.error().message;
  BpeEncoder encoder(*vocabulary);
  for (const size_t begin : {0, 1, 2}) expect_equal(*vocabulary, encoder, text.substr(begin * 3));
}

TEST(BpeEncoder, EqualsTheDefinitionOnGemmaVocabulary) {
  const PieceList list = gemma_pieces_of_gguf();
  const std::vector<std::string_view> pieces(list.pieces.begin(), list.pieces.end());
  const auto vocabulary = Vocabulary::build(pieces, list.scores, list.types);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.error().message;
  BpeEncoder encoder(*vocabulary);
  Random random(3);
  // Words made of pieces, so that much merges; " />" + spaces, because Gemma has a piece with a space inside (">▁</").
  const std::vector<std::string> extra{" ", "  ", "   ", ">", "</", "> </", "a", "e", "1", ".", "\u2581", "\xC3"};
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (size_t i = random() % 30; i > 0; --i) {
      const size_t id = 494 + random() % 230000;
      text += random() % 3 == 0 ? extra[random() % extra.size()] : list.pieces[id];
    }
    std::string spaced;
    append_with_spaces(text, spaced);
    std::vector<int32_t> ids;
    encoder.encode(text, ids);
    ASSERT_EQ(ids, reference_bpe(*vocabulary, spaced)) << text;
  }
  for (const char* unit : {"a", " ", "=", "ab", "的", "the", "ha"}) {
    std::string text;
    while (text.size() < 4500) text += unit;
    expect_equal(*vocabulary, encoder, text);
  }
  std::string letters;
  for (int i = 0; i < 4600; ++i) letters.push_back(static_cast<char>('a' + random() % 26));
  expect_equal(*vocabulary, encoder, letters);
}

TEST(BpeEncoder, LongerLeftPartFirstThenLeftmost) {
  SmallVocabulary small;
  small.add("a");
  small.add("b");
  const int32_t ab = small.add("ab");
  const int32_t aba = small.add("aba");
  small.add("ba", PieceType::kNormal, -1000);
  const auto vocabulary = small.build();
  ASSERT_TRUE(vocabulary.ok());
  BpeEncoder encoder(*vocabulary);
  std::vector<int32_t> ids;
  encoder.encode("ababa", ids);  // ab ab a: (ab, a) merges at the right, where it is; not a, ba
  EXPECT_EQ(ids, (std::vector<int32_t>{ab, aba}));
}

}  // namespace
}  // namespace carat
