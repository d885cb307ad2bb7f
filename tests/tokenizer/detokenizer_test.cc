// Streams of ids: whole code points only, and in the end the text that decode() gives.
#include "tokenizer/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"
#include "tokenizer/gemma_vocabulary.h"

namespace carat {
namespace {

int32_t byte_piece(uint8_t byte) { return gemma_tokenizer().id_of("<0x00>") + byte; }

TEST(Detokenizer, HoldsBytesUntilTheirRunEnds) {
  Detokenizer detokenizer(gemma_tokenizer());
  for (const uint8_t byte : {0xF0, 0x9F, 0x98, 0x80}) EXPECT_EQ(detokenizer.push(byte_piece(byte)), "");
  EXPECT_EQ(detokenizer.push(gemma_tokenizer().id_of("a")), "😀a");
  EXPECT_EQ(detokenizer.push(byte_piece(0x41)), "");
  EXPECT_EQ(detokenizer.finish(), "A");
  EXPECT_EQ(detokenizer.finish(), "");
}

// As Hugging Face's ByteFallback: one wrong byte spoils its whole run.
TEST(Detokenizer, ReplacesEveryByteOfARunThatIsNotUtf8) {
  const std::vector<int32_t> ids{byte_piece(0xC3), byte_piece(0xA9), byte_piece(0xFF), gemma_tokenizer().id_of("a"),
                                 byte_piece(0xC3), byte_piece(0xA9)};
  EXPECT_EQ(gemma_tokenizer().decode(ids), "\uFFFD\uFFFD\uFFFDaé");
}

TEST(Detokenizer, ControlTokensNeitherShowNorEndARunUnlessAskedFor) {
  const std::vector<int32_t> ids{byte_piece(0xC3), 106, byte_piece(0xA9)};
  EXPECT_EQ(gemma_tokenizer().decode(ids), "é");
  EXPECT_EQ(gemma_tokenizer().decode(ids, true), "\uFFFD<end_of_turn>\uFFFD");
}

TEST(Detokenizer, StreamsEqualDecodeOnRandomIds) {
  std::mt19937 random(5);
  for (int round = 0; round < 3000; ++round) {
    std::vector<int32_t> ids;
    for (int i = 0; i < round % 40; ++i) {
      const auto any = static_cast<int32_t>(random() % 262200) - 10;
      ids.push_back(random() % 2 == 0 ? byte_piece(static_cast<uint8_t>(random())) : any);
    }
    const bool with_control = round % 2 == 0;
    Detokenizer detokenizer(gemma_tokenizer(), with_control);
    std::string text;
    for (const int32_t id : ids) {
      const std::string part = detokenizer.push(id);
      ASSERT_TRUE(is_valid_utf8(part));
      text += part;
    }
    text += detokenizer.finish();
    ASSERT_TRUE(is_valid_utf8(text));
    ASSERT_EQ(text, gemma_tokenizer().decode(ids, with_control));
  }
}

}  // namespace
}  // namespace carat
