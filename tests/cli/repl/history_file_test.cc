// The file that keeps what was typed.
#include "cli/repl/history_file.h"

#include <gtest/gtest.h>

#include "model/fixture.h"

namespace carat::cli {
namespace {

TEST(HistoryFile, EntriesComeBackWhateverTheyHold) {
  const test::TemporaryDirectory folder;
  const HistoryFile file(folder.path() / "new" / "history");
  EXPECT_TRUE(file.load().value().empty());
  const std::vector<std::string> entries{"one", "two\nlines", "back\\slash \\n", "\u6f22", ""};
  for (const std::string& entry : entries) ASSERT_TRUE(file.append(entry).ok());
  EXPECT_EQ(file.load().value(), entries);
}

TEST(HistoryFile, ALongFileIsShortened) {
  const test::TemporaryDirectory folder;
  const HistoryFile file(folder.path() / "history");
  for (size_t i = 0; i <= 2 * kHistoryEntries; ++i) ASSERT_TRUE(file.append(std::to_string(i)).ok());
  const auto loaded = file.load().value();
  ASSERT_EQ(loaded.size(), kHistoryEntries);
  EXPECT_EQ(loaded.back(), std::to_string(2 * kHistoryEntries));
  EXPECT_LT(std::filesystem::file_size(folder.path() / "history"), 10 * kHistoryEntries);
}

TEST(HistoryFile, WhatCannotBeWrittenIsAnError) {
  const test::TemporaryDirectory folder;
  EXPECT_FALSE(HistoryFile(folder.path()).append("x").ok()) << "a folder";
}

}  // namespace
}  // namespace carat::cli
