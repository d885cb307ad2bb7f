// What the program carries of the web page: "/" and everything that it names, small enough, nothing inline, nothing
// from elsewhere.
#include "server/web_assets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <set>
#include <string>

namespace carat::server {
namespace {

std::string page() { return std::string(web_assets()[0].bytes); }

TEST(WebAssets, ThePageIsFirst) {
  ASSERT_FALSE(web_assets().empty());
  EXPECT_EQ(web_assets()[0].path, "/");
  EXPECT_EQ(web_assets()[0].content_type, "text/html; charset=utf-8");
  EXPECT_FALSE(web_assets()[0].immutable);
  EXPECT_EQ(page().substr(0, 15), "<!doctype html>");
}

TEST(WebAssets, PathsAndTagsAreWhole) {
  std::set<std::string_view> paths;
  for (const WebAsset& asset : web_assets()) {
    EXPECT_TRUE(paths.insert(asset.path).second) << asset.path;
    EXPECT_FALSE(asset.bytes.empty()) << asset.path;
    ASSERT_GE(asset.etag.size(), 3u) << asset.path;
    EXPECT_EQ(asset.etag.front(), '"') << asset.path;
    EXPECT_EQ(asset.etag.back(), '"') << asset.path;
  }
}

TEST(WebAssets, WithoutThePageItSaysSo) {
  if (web_page_was_built()) GTEST_SKIP() << "the page was built";
  EXPECT_EQ(web_assets().size(), 1u);
  EXPECT_NE(page().find("built without the chat page"), std::string::npos);
}

TEST(WebAssets, WhatThePageNamesIsThere) {
  if (!web_page_was_built()) GTEST_SKIP() << "built without the page";
  const std::string html = page();
  const std::regex reference(R"re((?:src|href)="([^"]*)")re");
  int found = 0;
  for (std::sregex_iterator it(html.begin(), html.end(), reference), end; it != end; ++it, ++found) {
    const std::string name = (*it)[1];
    ASSERT_EQ(name.substr(0, 2), "./") << name;
    const bool there = std::any_of(web_assets().begin(), web_assets().end(),
                                   [&](const WebAsset& asset) { return asset.path == name.substr(1); });
    EXPECT_TRUE(there) << name;
  }
  EXPECT_GE(found, 3);  // the script, the style, the icon
}

TEST(WebAssets, NothingIsInlineAndTheScriptIsSmall) {
  if (!web_page_was_built()) GTEST_SKIP() << "built without the page";
  EXPECT_FALSE(std::regex_search(page(), std::regex(R"(<script>|<style|style=|\son\w+=")")));
  size_t script_bytes = 0;
  for (const WebAsset& asset : web_assets()) {
    if (asset.content_type == "text/javascript; charset=utf-8") {
      script_bytes += asset.bytes.size();
      EXPECT_TRUE(asset.immutable) << asset.path;
    }
  }
  EXPECT_GT(script_bytes, 50'000u);
  EXPECT_LT(script_bytes, 250'000u);
}

}  // namespace
}  // namespace carat::server
