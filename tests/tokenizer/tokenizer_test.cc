// The public face: bytes that are not UTF-8, pieces by name, ids that do not exist, and many threads at once.
#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/utf8.h"
#include "tokenizer/gemma_vocabulary.h"

namespace carat {
namespace {

TEST(Tokenizer, PiecesByNameAndText) {
  const Tokenizer& t = gemma_tokenizer();
  EXPECT_EQ(t.id_of("<bos>"), 2);
  EXPECT_EQ(t.id_of("<start_of_turn>"), 105);
  EXPECT_EQ(t.id_of("<0x0A>"), 248);
  EXPECT_EQ(t.id_of("▁the"), t.id_of(" the"));
  EXPECT_EQ(t.id_of("<image_soft_token>"), 262144);
  EXPECT_EQ(t.id_of("no such piece"), -1);
  EXPECT_EQ(t.id_of(""), -1);
  EXPECT_EQ(t.piece_text(t.id_of("▁the")), " the");
  EXPECT_EQ(t.piece_text(248), "\n");
  EXPECT_EQ(t.piece_text(105), "");
  EXPECT_EQ(t.piece_text(105, true), "<start_of_turn>");
  for (const int32_t id : {-1, t.size(), INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(t.piece_text(id, true), "");
    EXPECT_FALSE(t.is_control(id));
    EXPECT_FALSE(t.is_byte(id));
  }
  EXPECT_EQ(t.decode(std::vector<int32_t>{-5, 9259, 999999999}), "Hello");
}

TEST(Tokenizer, BytesThatAreNotUtf8BecomeBytePieces) {
  const Tokenizer& t = gemma_tokenizer();
  const int32_t zero = t.id_of("<0x00>");
  const std::vector<std::string> invalid{"\x80",
                                         "\xBF",
                                         "\xC0\xAF",
                                         "\xC1\xBF",
                                         "\xC3",
                                         "\xE0\x80\x80",
                                         "\xE2\x96",
                                         "\xED\xA0\x80",  // a surrogate
                                         "\xED\xBF\xBF",
                                         "\xF0\x80\x80\x80",
                                         "\xF0\x9F\x98",
                                         "\xF4\x90\x80\x80",
                                         "\xF5\x80\x80\x80",
                                         "\xFE",
                                         "\xFF\xFF"};
  for (const std::string& bytes : invalid) {
    std::vector<int32_t> expected{t.id_of("a")};
    for (const char byte : bytes) expected.push_back(zero + static_cast<uint8_t>(byte));
    expected.push_back(t.id_of("b"));
    const std::vector<int32_t> ids = t.encode("a" + bytes + "b");
    EXPECT_EQ(ids, expected);
    std::string decoded = "a";
    for (size_t i = 0; i < bytes.size(); ++i) decoded += kReplacementUtf8;
    EXPECT_EQ(t.decode(ids), decoded + "b");
  }
}

TEST(Tokenizer, ByteOrderMarkAndNulAreText) {
  const std::string text("\xEF\xBB\xBFhello\0world\0", 15);
  EXPECT_EQ(gemma_tokenizer().decode(gemma_tokenizer().encode(text)), text);
}

TEST(Tokenizer, AnyBytesEncodeAndDecodeToValidText) {
  uint32_t state = 7;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (int i = 0; i < round % 64; ++i) {
      state = state * 1664525 + 1013904223;
      bytes.push_back(static_cast<char>(state >> 24));
    }
    const std::vector<int32_t> ids = gemma_tokenizer().encode_with_control(bytes);
    EXPECT_TRUE(is_valid_utf8(gemma_tokenizer().decode(ids, true)));
    std::string pieces;
    for (const int32_t id : ids) pieces += gemma_tokenizer().piece_text(id, true);
    std::string spaced;
    append_with_spaces(bytes, spaced);
    EXPECT_EQ(pieces, spaced);
  }
}

TEST(Tokenizer, ThreadsShareIt) {
  const std::string text = read_text(golden_file("cases.jsonl")).substr(0, 50000);
  const std::vector<int32_t> expected = gemma_tokenizer().encode(text);
  std::vector<std::vector<int32_t>> results(4);
  std::vector<std::thread> threads;
  threads.reserve(results.size());
  for (auto& result : results) {
    threads.emplace_back([&result, &text] {
      for (int i = 0; i < 5; ++i) result = gemma_tokenizer().encode(text);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

}  // namespace
}  // namespace carat
