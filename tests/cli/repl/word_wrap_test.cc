// What a terminal shows of a wrapped answer, whatever the pieces it came in.
#include "cli/repl/word_wrap.h"

#include <gtest/gtest.h>

#include <clocale>

namespace carat::cli {
namespace {

// A terminal that knows the two escape sequences that are used, for text of one byte or one cell a character.
std::string shown(const std::string& written) {
  std::string screen;
  for (size_t i = 0; i < written.size(); ++i) {
    if (written[i] != '\x1b') {
      screen += written[i];
      continue;
    }
    const size_t end = written.find_first_of("DK", i);
    if (written[end] == 'D') {
      const std::string count = written.substr(i + 2, end - i - 2);
      for (int left = std::stoi(count); left > 0; --left) {
        while ((static_cast<unsigned char>(screen.back()) & 0xC0) == 0x80) screen.pop_back();
        screen.pop_back();
      }
    }
    i = end;
  }
  return screen;
}

std::string wrapped(const std::string& text, size_t columns, size_t piece = 1000) {
  std::setlocale(LC_CTYPE, "C.UTF-8");
  WordWrap wrap([=] { return columns; });
  std::string out;
  for (size_t at = 0; at < text.size(); at += piece) out += wrap.push(text.substr(at, piece));
  return shown(out);
}

TEST(WordWrap, BreaksBetweenWordsInAnyPieces) {
  const std::string text = "the quick brown fox jumps";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    EXPECT_EQ(wrapped(text, 11, piece), "the quick \nbrown fox \njumps") << "pieces of " << piece;
  }
}

TEST(WordWrap, AWordThatEndsWithTheLineStays) {
  EXPECT_EQ(wrapped("four five", 10), "four five");
  EXPECT_EQ(wrapped("four five", 9), "four \nfive");
  EXPECT_EQ(wrapped("four five six", 10), "four five\nsix") << "the line's end stands for the space";
}

TEST(WordWrap, AWordLongerThanTheLineIsCut) {
  EXPECT_EQ(wrapped("abcdefghij", 5), "abcd\nefgh\nij");
  EXPECT_EQ(wrapped("a bcdefghij", 5), "a \nbcde\nfghi\nj");
}

TEST(WordWrap, NewlinesBeginAgain) { EXPECT_EQ(wrapped("ab\ncdef gh", 6), "ab\ncdef \ngh"); }

TEST(WordWrap, WideCharactersCountTwiceAndBreakAnywhere) {
  EXPECT_EQ(wrapped("\u6f22\u5b57\u6f22\u5b57", 6), "\u6f22\u5b57\n\u6f22\u5b57");
  EXPECT_EQ(wrapped("a\u6f22\u5b57", 5), "a\u6f22\n\u5b57");
}

TEST(WordWrap, CombiningCharactersTakeNoCell) {
  EXPECT_EQ(wrapped("e\u0301e\u0301e\u0301 x", 6), "e\u0301e\u0301e\u0301 x");
}

TEST(WordWrap, ZeroColumnsIsNoWrapping) { EXPECT_EQ(wrapped("the quick brown fox", 0), "the quick brown fox"); }

TEST(WordWrap, ControlCharactersAreShown) {
  WordWrap wrap([] { return size_t{0}; });
  EXPECT_EQ(wrap.push("a\x1b]0;title\x07"
                      "b\rc\x7f\u009b"),
            "a\\x1b]0;title\\x07b\\rc\\x7f\\u009b");
  EXPECT_EQ(wrap.push("\td"), " d") << "to the next multiple of 8";
  EXPECT_EQ(wrap.push("\xff"), "\\xff") << "no UTF-8";
}

TEST(WordWrap, AResizedTerminalCountsAtOnce) {
  std::setlocale(LC_CTYPE, "C.UTF-8");
  size_t columns = 80;
  WordWrap wrap([&] { return columns; });
  std::string out = wrap.push("one two");
  columns = 8;
  out += wrap.push(" three");
  EXPECT_EQ(shown(out), "one two\nthree");
}

}  // namespace
}  // namespace carat::cli
