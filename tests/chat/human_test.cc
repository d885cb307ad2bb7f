// Sizes, counts and times in the words that Ollama's recorded output uses.
#include "chat/human.h"

#include <gtest/gtest.h>

#include "chat/timestamp.h"

namespace carat::chat {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(Human, Bytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1 KB");
  EXPECT_EQ(human_bytes(1'900'000'000), "1.9 GB");
  EXPECT_EQ(human_bytes(253'113'024), "253 MB");
  EXPECT_EQ(human_bytes(15'999'999'999), "15 GB");
  EXPECT_EQ(human_bytes(2'000'000'000'000), "2 TB");
}

TEST(Human, Counts) {
  EXPECT_EQ(human_count(268'098'176), "268.10M");
  EXPECT_EQ(human_count(999'885'952), "999.89M");
  EXPECT_EQ(human_count(4'300'079'472), "4.3B");
  EXPECT_EQ(human_count(12'000'000'000), "12B");
  EXPECT_EQ(human_count(512), "512");
}

TEST(Human, Ages) {
  EXPECT_EQ(human_ago(milliseconds(900)), "Less than a second ago");
  EXPECT_EQ(human_ago(seconds(1)), "1 second ago");
  EXPECT_EQ(human_ago(seconds(59)), "59 seconds ago");
  EXPECT_EQ(human_ago(seconds(60)), "About a minute ago");
  EXPECT_EQ(human_ago(minutes(14)), "14 minutes ago");
  EXPECT_EQ(human_ago(minutes(61)), "About an hour ago");
  EXPECT_EQ(human_ago(hours(47)), "47 hours ago");
  EXPECT_EQ(human_ago(hours(24 * 13)), "13 days ago");
  EXPECT_EQ(human_ago(hours(24 * 30)), "4 weeks ago");
  EXPECT_EQ(human_ago(hours(24 * 90)), "3 months ago");
  EXPECT_EQ(human_ago(hours(24 * 365 * 3)), "3 years ago");
}

TEST(Human, TimeLeft) {
  EXPECT_EQ(human_seconds(0), "0s");
  EXPECT_EQ(human_seconds(187), "3m07s");
  EXPECT_EQ(human_seconds(3720), "1h02m");
}

TEST(Timestamp, IsUtcWithNanoseconds) {
  const auto time = std::chrono::system_clock::from_time_t(1764000000) + milliseconds(5);
  EXPECT_EQ(rfc3339(time), "2025-11-24T16:00:00.005000000Z");
}

}  // namespace
}  // namespace carat::chat
