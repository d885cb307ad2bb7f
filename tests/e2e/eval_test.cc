// carat eval on Hugging Face's tiny models: ids, logits and log-probabilities against what transformers computed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/json.h"
#include "formats/safetensors.h"
#include "support/compare.h"
#include "support/npy.h"
#include "support/paths.h"
#include "support/process.h"

namespace carat {
namespace {

using Json = nlohmann::json;
using test::Npy;
using test::read_npy;
using test::run_carat;

struct Fixture {
  explicit Fixture(const std::string& name)
      : folder(std::string(kSourceDir) + "/tests/golden/" + name),
        expected(std::move(SafetensorsFile::open(folder + "/expected.safetensors").value())) {}

  std::vector<int32_t> integers(const std::string& name) const {
    const SafetensorsEntry& entry = *expected.find(name);
    std::vector<int32_t> result;
    const size_t size = entry.dtype == "I64" ? 8 : 4;
    for (size_t at = 0; at < entry.data.size(); at += size) {
      int32_t value = 0;  // little-endian: the low half comes first
      std::memcpy(&value, entry.data.data() + at, sizeof value);
      result.push_back(value);
    }
    return result;
  }
  std::vector<float> floats(const std::string& name) const {
    const SafetensorsEntry& entry = *expected.find(name);
    std::vector<float> result(entry.data.size() / sizeof(float));
    std::memcpy(result.data(), entry.data.data(), entry.data.size());
    return result;
  }
  std::string line() const { return Json{{"ids", integers("input_ids")}}.dump() + "\n"; }

  std::string folder;
  SafetensorsFile expected;
};

std::vector<Json> lines_of(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(Json::parse(line));
  return lines;
}

class EvalTest : public ::testing::TestWithParam<const char*> {};

TEST_P(EvalTest, GreedyIdsAreHuggingFaces) {
  const Fixture fixture(GetParam());
  const auto ids = fixture.integers("greedy_ids");  // the first 24 ids of the prompt, then the continuation
  const Json prompt(std::vector<int32_t>(ids.begin(), ids.begin() + 24));
  const Json greedy(std::vector<int32_t>(ids.begin() + 24, ids.end()));
  const std::string count = std::to_string(greedy.size());
  for (const char* backend : {"reference", "cpu", "cpu/portable"}) {
    const auto result = run_carat({"eval", fixture.folder, "--generate", count, "--backend", backend, "--chunk", "7"},
                                  {.input = Json{{"ids", prompt}}.dump() + "\n"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    EXPECT_EQ(lines_of(result.out)[0]["greedy"], greedy) << backend;
  }
}

TEST_P(EvalTest, ReferenceLogitsAreHuggingFaces) {
  const Fixture fixture(GetParam());
  const std::string path = testing::TempDir() + "eval_test_" + GetParam() + ".npy";
  const auto result =
      run_carat({"eval", fixture.folder, "--backend", "reference", "--prompt-logprobs", "--top", "3", "--logits", path},
                {.input = fixture.line()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto expected = fixture.floats("logits");
  const auto ids = fixture.integers("input_ids");
  const size_t vocabulary = expected.size() / ids.size();
  const Npy npy = read_npy(path);
  std::filesystem::remove(path);
  EXPECT_NE(npy.header.find("'shape': (" + std::to_string(ids.size()) + ", " + std::to_string(vocabulary) + ")"),
            std::string::npos)
      << npy.header;
  // The float32 run of transformers rounds a few thousand times on the way: 1e-4 of a row's size, as issue and README
  // say.
  EXPECT_TRUE(test::rows_within(npy.values, expected, vocabulary, 1e-4));

  const Json line = lines_of(result.out)[0];
  ASSERT_EQ(line["top"].size(), ids.size());
  for (size_t row = 0; row < ids.size(); ++row) {
    const float* logits = npy.values.data() + row * vocabulary;
    double sum = 0;
    for (size_t i = 0; i < vocabulary; ++i) sum += std::exp(static_cast<double>(logits[i]));
    ASSERT_EQ(line["top"][row].size(), 3u);
    double previous = 0;
    for (const Json& pair : line["top"][row]) {
      const double logprob = pair[1];
      EXPECT_NEAR(logprob, logits[pair[0].get<size_t>()] - std::log(sum), 1e-5);
      EXPECT_LE(logprob, previous);
      previous = logprob;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, EvalTest, ::testing::Values("gemma3-tiny-text", "gemma3-tiny-text-scaled"));

class EvalOneTest : public ::testing::Test {
 protected:
  Fixture fixture_{"gemma3-tiny-text"};
};

TEST_F(EvalOneTest, ChunksAndThreadsChangeNotOneBit) {
  const std::string path = testing::TempDir() + "eval_test_bits.npy";
  std::vector<float> first;
  for (const char* chunk : {"1", "5", "64", "256"}) {
    for (const char* threads : {"1", "2"}) {
      const auto result = run_carat({"eval", fixture_.folder, "--prompt-logprobs", "--generate", "5", "--logits", path,
                                     "--chunk", chunk, "--threads", threads},
                                    {.input = fixture_.line()});
      ASSERT_EQ(result.exit_code, 0) << result.err;
      const Npy npy = read_npy(path);
      if (first.empty()) first = npy.values;
      EXPECT_TRUE(test::same_bits(npy.values, first)) << chunk << " rows, " << threads << " threads";
    }
  }
  std::filesystem::remove(path);
}

TEST_F(EvalOneTest, RowsAreThoseThatTheHelpPromises) {
  const auto ids = fixture_.integers("input_ids").size();
  const auto rows = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"eval", fixture_.folder, "--top", "1"});
    return lines_of(run_carat(flags, {.input = fixture_.line()}).out).at(0)["top"].size();
  };
  EXPECT_EQ(rows({}), 1u);
  EXPECT_EQ(rows({"--generate", "4"}), 4u);
  EXPECT_EQ(rows({"--prompt-logprobs"}), ids);
  EXPECT_EQ(rows({"--prompt-logprobs", "--generate", "4"}), ids + 3);
}

TEST_F(EvalOneTest, TheFirstGreedyIdIsTheTopOfTheLastPromptPosition) {
  const auto result = run_carat({"eval", fixture_.folder, "--generate", "3", "--top", "1"}, {.input = fixture_.line()});
  const Json line = lines_of(result.out).at(0);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(line["greedy"][i], line["top"][i][0][0]);
}

TEST_F(EvalOneTest, LinesOfAFileAreAnsweredInOrder) {
  const std::string path = testing::TempDir() + "eval_test.jsonl";
  std::ofstream(path) << "{\"ids\": [2, 5]}\n\n{\"ids\": [2, 6, 7]}\n{\"ids\": [2, 5]}\n";
  const auto result = run_carat({"eval", fixture_.folder, path, "--generate", "2"});
  std::filesystem::remove(path);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1]["ids"], Json({2, 6, 7}));
  EXPECT_EQ(lines[0], lines[2]);
}

TEST_F(EvalOneTest, BadInputIsOneLineAndAnExitCode) {
  const struct {
    std::vector<std::string> flags;
    std::string input, message;
    int exit_code;
  } cases[] = {
      {{}, "{\"ids\": [2, 5]}\nnonsense\n", "Error: line 2: not JSON\n", 2},
      {{},
       "[2, 5]\n",
       "Error: line 1: expected {\"ids\": [whole numbers]}, {\"text\": \"...\"} or {\"messages\": [...]}\n",
       2},
      {{}, "{\"ids\": [2, 1e3]}\n", "Error: line 1: 1000.0 is no id, expected 0 to 1023\n", 2},
      {{}, "{\"ids\": [2, 1024]}\n", "Error: line 1: 1024 is no id, expected 0 to 1023\n", 2},
      {{}, "{\"ids\": [2, -1]}\n", "Error: line 1: -1 is no id, expected 0 to 1023\n", 2},
      {{}, "{\"ids\": []}\n", "Error: line 1: the prompt is empty\n", 2},
      {{"--generate", "-1"},
       "",
       "Error: --generate: it is -1, expected 0 to 1048576\n`carat eval --help` says more.\n",
       2},
      {{"--logits", "/nonexistent/x.npy"},
       "",
       "Error: /nonexistent/x.npy: cannot write it: No such file or directory\n",
       1},
      {{"--chunk", "0"},
       "{\"ids\": [2]}\n",
       "Error: --chunk: it is 0, expected 1 to 8192\n`carat eval --help` says more.\n",
       2},
      {{"/nonexistent.jsonl"}, "", "Error: /nonexistent.jsonl: No such file or directory\n", 1},
  };
  for (const auto& one : cases) {
    std::vector<std::string> arguments{"eval", fixture_.folder};
    arguments.insert(arguments.end(), one.flags.begin(), one.flags.end());
    const auto result = run_carat(arguments, {.input = one.input});
    EXPECT_EQ(result.err, one.message);
    EXPECT_EQ(result.exit_code, one.exit_code) << one.message;
  }
}

TEST_F(EvalOneTest, TextNeedsATokenizer) {
  const auto result = run_carat({"eval", fixture_.folder}, {.input = "{\"text\": \"hello\"}\n"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "Error: line 1: the model came without a tokenizer: only token ids work (carat eval)\n");
}

TEST_F(EvalOneTest, LongerThanTheModelsContextIsRefusedNamingBoth) {
  std::string ids = "2";
  for (int i = 0; i < 40000; ++i) ids += ",5";
  const auto result = run_carat({"eval", fixture_.folder}, {.input = "{\"ids\": [" + ids + "]}\n"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("40001"), std::string::npos) << result.err;
}

TEST_F(EvalOneTest, UnknownBackendsListWhatThereIs) {
  const auto result = run_carat({"eval", fixture_.folder, "--backend", "gpu"}, {.input = fixture_.line()});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("cpu/portable"), std::string::npos) << result.err;
}

// A .npy file of the fixture's normalised pixels.
std::string write_pixels(const Fixture& fixture) {
  const std::string path = testing::TempDir() + "eval_test_pixels.npy";
  const std::vector<float> values = fixture.floats("pixel_values");
  std::string header("\x93NUMPY\x01\x00\x76\x00", 10);
  header += "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 112, 112), }";
  header.resize(127, ' ');
  header += '\n';
  std::ofstream file(path, std::ios::binary);
  file << header;
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  return path;
}

// Prepared pixels through the tower, the engine and the text model, on a directory without a tokenizer.
TEST(EvalPictures, GreedyIdsAndFeaturesAreHuggingFaces) {
  const Fixture fixture("gemma3-tiny-vision");
  const auto prompt = fixture.integers("input_ids"), all = fixture.integers("greedy_ids");
  const Json greedy(std::vector<int32_t>(all.begin() + static_cast<ptrdiff_t>(prompt.size()), all.end()));
  const std::string line = Json{{"ids", prompt}, {"pixels", write_pixels(fixture)}}.dump() + "\n";
  const std::string features = testing::TempDir() + "eval_test_features.npy";
  for (const char* backend : {"reference", "cpu", "cpu/portable"}) {
    const auto result = run_carat({"eval", fixture.folder, "--generate", std::to_string(greedy.size()), "--backend",
                                   backend, "--chunk", "32", "--image-features", features},
                                  {.input = line + line});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto lines = lines_of(result.out);
    EXPECT_EQ(lines.at(0)["greedy"], greedy) << backend;
    EXPECT_EQ(lines.at(1)["greedy"], greedy) << backend;  // from the caches
    EXPECT_EQ(lines.at(0)["ids"], Json(prompt));
    const Npy npy = read_npy(features);
    EXPECT_NE(npy.header.find("'shape': (4, 16, 256)"), std::string::npos) << npy.header;
    const auto expected = fixture.floats("image_features");
    ASSERT_EQ(npy.values.size(), 2 * expected.size());
    EXPECT_TRUE(test::rows_within(std::span(npy.values).first(expected.size()), expected, 256, 1e-4)) << backend;
    EXPECT_TRUE(
        test::same_bits(std::span(npy.values).first(expected.size()), std::span(npy.values).subspan(expected.size())));
  }
}

TEST(EvalPictures, ReferenceLogitsAreHuggingFaces) {
  const Fixture fixture("gemma3-tiny-vision");
  const std::string logits = testing::TempDir() + "eval_test_vision_logits.npy";
  const auto result =
      run_carat({"eval", fixture.folder, "--backend", "reference", "--prompt-logprobs", "--logits", logits},
                {.input = Json{{"ids", fixture.integers("input_ids")}, {"pixels", write_pixels(fixture)}}.dump()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(test::rows_within(read_npy(logits).values, fixture.floats("logits"), 1024, 1e-4));
}

TEST(EvalPictures, APictureOfAnySizeGoesIn) {
  const Fixture fixture("gemma3-tiny-vision");
  const auto ids = fixture.integers("input_ids");
  const std::string pictures = std::string(kSourceDir) + "/tests/golden/images/";
  const auto result =
      run_carat({"eval", fixture.folder, "--generate", "4"},
                {.input = Json{{"ids", ids}, {"images", {pictures + "wide.png", pictures + "tall.jpg"}}}.dump()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(lines_of(result.out)[0]["greedy"].size(), 4u);
}

TEST(EvalPictures, ErrorsAreOneClearLine) {
  const Fixture vision("gemma3-tiny-vision"), text("gemma3-tiny-text");
  const std::string pictures = std::string(kSourceDir) + "/tests/golden/images/";
  const auto error_of = [](const std::string& folder, const Json& line) {
    const auto result = run_carat({"eval", folder}, {.input = line.dump()});
    EXPECT_NE(result.exit_code, 0);
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    return result.err;
  };
  const Json image(pictures + "small.png");
  EXPECT_NE(error_of(text.folder, {{"ids", {2, 5}}, {"images", {image}}}).find("has no vision tower"),
            std::string::npos);
  EXPECT_NE(error_of(text.folder, {{"ids", {2, 1024}}}).find("1024 is no id, expected 0 to 1023"), std::string::npos);
  EXPECT_NE(
      error_of(vision.folder, {{"ids", {2, 5}}, {"images", {image}}}).find("has 0 image tokens (id 1002), expected 16"),
      std::string::npos);
  EXPECT_NE(error_of(vision.folder, {{"ids", {2, 5}}, {"images", {pictures + "expected.json"}}}).find("not a picture"),
            std::string::npos);
}

}  // namespace
}  // namespace carat
