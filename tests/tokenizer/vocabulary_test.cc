// What a vocabulary must be to be loaded, and what of it counts as control.
#include "tokenizer/vocabulary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tokenizer/gemma_vocabulary.h"
#include "tokenizer/small_vocabulary.h"

namespace carat {
namespace {

std::string error_of(const SmallVocabulary& vocabulary) {
  const auto built = vocabulary.build();
  return built.ok() ? "" : built.error().message;
}

TEST(Vocabulary, RefusesWhatIsNone) {
  SmallVocabulary vocabulary;
  EXPECT_EQ(error_of(vocabulary), "");

  vocabulary.list.pieces[65] = "<0x4>";
  EXPECT_EQ(error_of(vocabulary), "vocabulary: piece 65 is of type byte, expected a name like <0x0A>");
  vocabulary = {};
  vocabulary.list.pieces[65] = "<0x42>";
  EXPECT_EQ(error_of(vocabulary), "vocabulary: expected byte pieces <0x00> to <0xFF>, as Gemma 3 has them");
  vocabulary = {};
  vocabulary.add("\xC3");
  EXPECT_EQ(error_of(vocabulary), "vocabulary: piece 256 is not valid UTF-8");
  vocabulary = {};
  vocabulary.add(std::string(1025, 'a'));
  EXPECT_EQ(error_of(vocabulary), "vocabulary: piece 256 is 1025 bytes long, expected at most 1024");
  vocabulary = {};
  vocabulary.add("a", static_cast<PieceType>(7));
  EXPECT_EQ(error_of(vocabulary), "vocabulary: piece 256 is of type 7, expected 1 to 6");
  vocabulary = {};
  vocabulary.add("a", PieceType::kNormal, std::nanf(""));
  EXPECT_EQ(error_of(vocabulary), "vocabulary: piece 256 has a score that is no number");
  vocabulary = {};
  vocabulary.list.scores.pop_back();
  EXPECT_EQ(error_of(vocabulary), "vocabulary: 256 pieces, 255 scores and 256 types, expected as many of each");
  vocabulary.list = {};
  EXPECT_EQ(error_of(vocabulary), "vocabulary: 0 pieces, expected 1 to 1048576");
}

TEST(Vocabulary, KeepsTheFirstOfEqualPieces) {
  SmallVocabulary small;
  const int32_t first = small.add("a");
  small.add("a");
  small.add("");
  const auto vocabulary = small.build();
  ASSERT_TRUE(vocabulary.ok());
  EXPECT_EQ(vocabulary->find("a"), first);
  EXPECT_EQ(vocabulary->find(""), -1);
  EXPECT_EQ(vocabulary->find("b"), -1);
}

TEST(Vocabulary, RanksUserDefinedPiecesThenScoresThenLengths) {
  SmallVocabulary small;
  small.add("a", PieceType::kNormal, -2);
  small.add("aa", PieceType::kNormal, -1);
  small.add("aaa", PieceType::kNormal, -2);
  small.add("b", PieceType::kUserDefined, -1000);
  small.add("bb", PieceType::kUserDefined, -1000);
  small.add("<0x0A>x", PieceType::kUnused, 5);
  const auto vocabulary = small.build();
  ASSERT_TRUE(vocabulary.ok());
  uint32_t rank = 0;
  for (const char* piece : {"bb", "b", "aa", "aaa", "a"}) EXPECT_EQ(vocabulary->rank_of(piece), rank++) << piece;
  EXPECT_EQ(vocabulary->rank_of("<0x0A>x"), Vocabulary::kNoRank);
}

TEST(Vocabulary, MarkersAreControlWhateverTheFileSays) {
  for (const PieceType type : {PieceType::kNormal, PieceType::kControl, PieceType::kUserDefined}) {
    SmallVocabulary small;
    const int32_t turn = small.add("<start_of_turn>", type);
    const int32_t image = small.add("<start_of_image>", type);
    const int32_t unused = small.add("<unused42>", type);
    const int32_t table = small.add("<table>", PieceType::kUserDefined);
    const int32_t almost = small.add("<unused4x>", PieceType::kUserDefined);
    const auto vocabulary = small.build();
    ASSERT_TRUE(vocabulary.ok());
    EXPECT_TRUE(vocabulary->is_control(turn));
    EXPECT_TRUE(vocabulary->is_control(image));
    EXPECT_TRUE(vocabulary->is_control(unused));
    EXPECT_FALSE(vocabulary->is_control(table));
    EXPECT_FALSE(vocabulary->is_control(almost));
  }
}

// Encoding never reads tokenizer.json's half million merges: they are exactly the ways to cut a piece into two pieces,
// and check_merges has seen that their order is the vocabulary's.
TEST(Vocabulary, ItsPiecesDetermineGemmaMerges) {
  const PieceList& list = gemma_pieces();
  const std::vector<std::string_view> pieces(list.pieces.begin(), list.pieces.end());
  const auto vocabulary = Vocabulary::build(pieces, list.scores, list.types);
  ASSERT_TRUE(vocabulary.ok());
  EXPECT_TRUE(check_merges(list, *vocabulary).ok());
  size_t cuts = 0;
  for (int32_t id = 0; id < vocabulary->size(); ++id) {
    const std::string_view text = vocabulary->text(id);
    if (vocabulary->is_byte(id) || vocabulary->rank_of(text) == Vocabulary::kNoRank) continue;
    for (size_t at = 1; at < text.size(); ++at) {
      cuts += vocabulary->rank_of(text.substr(0, at)) != Vocabulary::kNoRank &&
              vocabulary->rank_of(text.substr(at)) != Vocabulary::kNoRank;
    }
  }
  EXPECT_EQ(cuts, list.merges.size());
  EXPECT_EQ(cuts, 514906U);
}

// A run of spaces becomes its longest pieces from the left, in whatever order the pieces of the run merge:
// tokenizer.json orders them by their left parts, the vocabulary by length.
TEST(Vocabulary, RunsOfSpacesAreCutGreedily) {
  for (size_t spaces = 1; spaces < 200; ++spaces) {
    std::vector<int32_t> expected(spaces / 31, 167);  // 31 spaces
    const size_t rest = spaces % 31;
    if (rest > 0) expected.push_back(rest == 1 ? 236743 : 136 + static_cast<int32_t>(rest));
    EXPECT_EQ(gemma_tokenizer().encode(std::string(spaces, ' ')), expected) << spaces;
  }
}

}  // namespace
}  // namespace carat
