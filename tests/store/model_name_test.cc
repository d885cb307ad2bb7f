// Names: what they mean, and that no text at all becomes a path outside the folder it is put under (reliability.md R1).
#include "store/model_name.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "model/fixture.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

TEST(ModelName, FillsInWhatIsLeftOut) {
  const auto plain = ModelName::parse("gemma3");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->path(), fs::path("registry.ollama.ai/library/gemma3/latest"));
  EXPECT_EQ(plain->text(), "gemma3:latest");

  const auto full = ModelName::parse("127.0.0.1:9/x/y.z-1:q4_0");
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(full->path(), fs::path("127.0.0.1:9/x/y.z-1/q4_0"));
  EXPECT_EQ(full->text(), "127.0.0.1:9/x/y.z-1:q4_0");

  const auto hugging_face = ModelName::parse("google/gemma-3-270m");
  ASSERT_TRUE(hugging_face.ok());
  EXPECT_EQ(hugging_face->text(), "google/gemma-3-270m:latest");
  EXPECT_EQ(ModelName::parse("registry.ollama.ai/library/gemma3:latest")->text(), "gemma3:latest");
}

TEST(ModelName, RefusesHostileNames) {
  using namespace std::string_literals;
  for (const std::string& name : {""s,
                                  "."s,
                                  ".."s,
                                  "../x"s,
                                  "/etc/passwd"s,
                                  "a/../b"s,
                                  "a/.."s,
                                  "x:.."s,
                                  "x:../../../etc/passwd"s,
                                  "x:"s,
                                  ":x"s,
                                  "/"s,
                                  "a//b"s,
                                  "a/b/c/d"s,
                                  "a:b:c"s,
                                  "a\0b"s,
                                  "a\nb"s,
                                  "a b"s,
                                  "a\\b"s,
                                  "a/.hidden"s,
                                  "~/x"s,
                                  "-rf"s,
                                  "x:-rf"s,
                                  "ge\xCC\x88mma"s,
                                  "\xE2\x80\xAEx"s,
                                  "a%2f..%2fb"s,
                                  "ftp://a/b"s,
                                  "http://"s,
                                  "http://http://a"s,
                                  std::string(10000, 'a'),
                                  std::string(97, 'a'),
                                  "a/" + std::string(97, 'b'),
                                  "$(touch x)"s,
                                  "x;y"s,
                                  "x*"s}) {
    const auto parsed = ModelName::parse(name);
    EXPECT_TRUE(test::fails_with(parsed, ErrorCode::kInvalidArgument, {"is invalid"})) << name;
    if (!parsed.ok()) {
      EXPECT_LT(parsed.error().message.size(), 600u) << "a hostile name does not fill the screen";
    }
  }
}

// Texts made of what breaks parsers. Whatever parses must be four plain parts that stay below their root, and must
// parse again, from its own text, to itself.
TEST(ModelName, NeverLeavesItsFolder) {
  std::mt19937 random(4);
  const std::vector<std::string> pieces = {
      "/",  "..", ".", ":",  "a", "B9",  "_",        "-",      "gemma3", "270m-pt",
      "\\", "//", "~", "\n", " ", "%2e", "\xC0\xAE", "host:1", "sha256", std::string(1, '\0')};
  const fs::path root = "/store/manifests";
  int parsed_count = 0;
  for (int i = 0; i < 50000; ++i) {
    std::string text;
    const int count = static_cast<int>(random() % 8) + 1;
    for (int k = 0; k < count; ++k) text += pieces[random() % pieces.size()];
    const auto parsed = ModelName::parse(text);
    if (!parsed.ok()) continue;
    ++parsed_count;
    const fs::path path = root / parsed->path();
    ASSERT_EQ(path, path.lexically_normal()) << text;
    ASSERT_EQ(std::distance(path.begin(), path.end()), std::distance(root.begin(), root.end()) + 4) << text;
    ASSERT_EQ(std::mismatch(root.begin(), root.end(), path.begin()).first, root.end()) << text;
    for (const fs::path& part : parsed->path())
      ASSERT_TRUE(part != "." && part != ".." && part.native()[0] != '.') << text;
    const auto again = ModelName::parse(parsed->text());
    ASSERT_TRUE(again.ok()) << parsed->text();
    ASSERT_EQ(*again, *parsed) << text;
  }
  EXPECT_GT(parsed_count, 500) << "the generator makes too few names to say anything";
}

TEST(LocalPath, ComesBeforeNames) {
  const test::TemporaryDirectory folder;
  folder.write("x.gguf", "");
  fs::create_directory(folder.path() / "model");
  fs::create_directory(folder.path() / "gemma3");
  std::ofstream(folder.path() / "model/config.json") << "{}";
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  for (const char* path : {"./nowhere", "../x", "/x", ".", "x.gguf", "model", "model/", "gemma3/"}) {
    EXPECT_TRUE(is_local_path(path)) << path;
  }
  for (const char* name : {"", "gemma3", "nowhere.gguf", "google/gemma-3-270m", "gemma3:270m-pt"}) {
    EXPECT_FALSE(is_local_path(name)) << name;
  }
  EXPECT_FALSE(is_local_path(std::string_view("./x\0y", 5)));
  fs::current_path(before);
}

}  // namespace
}  // namespace carat
