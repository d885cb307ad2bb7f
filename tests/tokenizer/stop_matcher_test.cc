// Stop strings against a search over the whole text, for random texts in random parts.
#include "tokenizer/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"

namespace carat {
namespace {

struct Stopped {
  std::string text;
  std::optional<size_t> stop;
};

// The first stop string to be complete; of those complete at once the longest; of equal ones the first.
Stopped reference(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<size_t> best;
    for (size_t i = 0; i < stops.size(); ++i) {
      const std::string_view seen(text.data(), end);
      if (!stops[i].empty() && seen.ends_with(stops[i]) && (!best || stops[i].size() > stops[*best].size())) best = i;
    }
    if (best) return {text.substr(0, end - stops[*best].size()), best};
  }
  return {text, {}};
}

// What must be held back after `text`: its longest ending that begins a stop string.
size_t held_after(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t length = text.size(); length > 0; --length) {
    for (const std::string& stop : stops) {
      if (std::string_view(stop).starts_with(std::string_view(text).substr(text.size() - length))) return length;
    }
  }
  return 0;
}

TEST(StopMatcher, EqualsASearchForAnySplit) {
  std::mt19937 random(11);
  const auto word = [&](size_t longest) {
    std::string made;
    for (size_t i = random() % (longest + 1); i > 0; --i) made.push_back(static_cast<char>('a' + random() % 2));
    return made;
  };
  int stopped = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(random() % 5);
    for (std::string& stop : stops) stop = word(6);
    const std::string text = word(30);
    const Stopped expected = reference(stops, text);
    StopMatcher matcher(stops);
    Stopped got;
    for (size_t at = 0; at < text.size() && !got.stop;) {
      const size_t size = 1 + random() % 4;
      auto output = matcher.push(std::string_view(text).substr(at, size));
      at = std::min(text.size(), at + size);
      got.text += output.text;
      got.stop = output.stop;
      if (!got.stop) {
        ASSERT_EQ(got.text.size(), at - held_after(stops, text.substr(0, at)));
      }
    }
    ASSERT_EQ(matcher.stopped(), got.stop.has_value());
    got.text += matcher.finish();
    ASSERT_EQ(got.text, expected.text);
    ASSERT_EQ(got.stop, expected.stop);
    stopped += got.stop.has_value();
  }
  EXPECT_GT(stopped, 5000);
  EXPECT_LT(stopped, 19000);
}

TEST(StopMatcher, NothingFollowsAStop) {
  StopMatcher matcher(std::vector<std::string>{"\n\n"});
  EXPECT_EQ(matcher.push("a\n").text, "a");
  const auto output = matcher.push("\nb");
  EXPECT_EQ(output.text, "");
  EXPECT_EQ(output.stop, 0U);
  EXPECT_EQ(matcher.push("c\n\n").text, "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, WithoutStopStringsNothingIsHeld) {
  StopMatcher matcher(std::vector<std::string>{"", ""});
  EXPECT_EQ(matcher.push("text").text, "text");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, HoldsWholeCodePoints) {
  StopMatcher matcher(std::vector<std::string>{"é!"});
  const std::string before = matcher.push("café").text;
  EXPECT_EQ(before, "caf");
  EXPECT_EQ(matcher.push("è").text, "éè");  // è begins with the same byte as é
}

}  // namespace
}  // namespace carat
