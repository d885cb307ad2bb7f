// Files as people have them, through the program: Ollama's own gemma3:1b, fine-tunes with tokens and templates of their
// own, and what is refused in words. The weights are zeros: what is looked at is what the program makes of the rest.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "model/fixture.h"
#include "support/gguf_files.h"
#include "support/process.h"

namespace carat::test {
namespace {

using nlohmann::json;

class FilesTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  static void expect_one_line(const ProcessResult& result, const std::vector<std::string>& parts, int exit_code = 1) {
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    for (const std::string& part : parts) EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  }

  TemporaryDirectory folder_;
};

TEST_F(FilesTest, OllamasOwn1BIsOpenedAndToldApart) {
  write_ollama_1b(path("1b.gguf"));
  const auto shown = run_carat({"show", path("1b.gguf"), "--json"});
  ASSERT_EQ(shown.exit_code, 0) << shown.err;
  const json facts = json::parse(shown.out);
  EXPECT_EQ(facts["base_model"], false);
  EXPECT_EQ(facts["chat_template"], "Gemma 3's (none in the file)");
  EXPECT_EQ(facts["notes"].size(), 2U) << facts["notes"];
  EXPECT_EQ(facts["model_info"]["gemma3.vocab_size"], 262144);

  std::ifstream file(golden("tokenizer/cases.jsonl"));
  const std::string cases(std::istreambuf_iterator<char>(file), {});
  const auto tokens = run_carat({"tokenize", path("1b.gguf"), "--jsonl"}, {.input = cases});
  ASSERT_EQ(tokens.exit_code, 0) << tokens.err;
  std::istringstream expected_lines(cases), lines(tokens.out);
  int count = 0;
  for (std::string expected, line; std::getline(expected_lines, expected); ++count) {
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_EQ(json::parse(line)["ids"], json::parse(expected)["ids"]) << expected;
  }
  EXPECT_EQ(count, 845);
}

// A tiny model with Gemma's vocabulary, these tokens after it, and this chat template.
void write_fine_tune(const std::string& path, const std::vector<std::pair<std::string, int32_t>>& added,
                     const std::string& chat_template, uint32_t end = 1) {
  SynthVocabulary vocabulary = gemma_vocabulary();
  for (const auto& [piece, type] : added) vocabulary.add(piece, -1000, type);
  GgufHeader header = gemma3_header(kTiny);
  add_vocabulary(header, vocabulary);
  header.add_u32("tokenizer.ggml.eos_token_id", end);
  if (!chat_template.empty()) header.add_string("tokenizer.chat_template", chat_template);
  write_gguf_with_holes(path, std::move(header), kTiny, vocabulary.pieces.size());
}

const char* const kChatMLTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

TEST_F(FilesTest, TokensOfAFineTuneAreTokenisedAndComputed) {
  write_fine_tune(
      path("f.gguf"),
      {{"<image_soft_token>", 3}, {"<|im_start|>", 3}, {"<|im_end|>", 3}, {"<think>", 4}, {"[PAD262148]", 5}},
      kChatMLTemplate, 262146);
  EXPECT_EQ(run_carat({"tokenize", path("f.gguf")}, {.input = "<think><|im_end|>"}).out, "262147 262146\n");
  const auto eval = run_carat({"eval", path("f.gguf"), "--generate", "1"}, {.input = R"({"ids": [2, 262147]})"});
  EXPECT_EQ(eval.exit_code, 0) << eval.err;
  expect_one_line(run_carat({"eval", path("f.gguf")}, {.input = R"({"ids": [2, 262148]})"}), {"262148 is no id"}, 2);
  const auto shown = run_carat({"show", path("f.gguf")});
  EXPECT_NE(shown.out.find("  Chat template\n    ChatML"), std::string::npos) << shown.out;
  EXPECT_EQ(run_carat({"run", path("f.gguf"), "-n", "1", "--temp", "0", "hi"}).exit_code, 0);
}

TEST_F(FilesTest, ATemplateThatIsNotKnownRefusesChatAndSaysWhatToDo) {
  write_fine_tune(path("t.gguf"), {}, "{{ bos_token }}{% if tools %}\n{{ tools }}{% endif %}\n[INST]");
  expect_one_line(run_carat({"run", path("t.gguf"), "hi"}), {"chat template", "--raw", "--template"});
  EXPECT_NE(run_carat({"show", path("t.gguf")}).out.find("not known"), std::string::npos);
  for (const std::vector<std::string>& how : std::vector<std::vector<std::string>>{
           {"--raw"}, {"--template", "gemma"}, {"--template", "chatml"}, {"--template", "Q: {{ .Prompt }} A:"}}) {
    std::vector<std::string> arguments{"run", path("t.gguf"), "-n", "1", "hi"};
    arguments.insert(arguments.end(), how.begin(), how.end());
    const auto result = run_carat(arguments);
    EXPECT_EQ(result.exit_code, 0) << how.back() << ": " << result.err;
  }
  const auto wrong = run_carat({"run", path("t.gguf"), "--template", "{{ .Tools }}", "hi"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_EQ(std::count(wrong.err.begin(), wrong.err.end(), '\n'), 1) << wrong.err;
}

TEST_F(FilesTest, JsonFromOutsideIsBounded) {
  write_fine_tune(path("m.gguf"), {}, "");
  const std::string deep = "{\"ids\": " + std::string(300000, '[');
  expect_one_line(run_carat({"eval", path("m.gguf")}, {.input = deep + "\n"}), {"line 1", "nested too deeply"}, 2);
  expect_one_line(run_carat({"tokenize", path("m.gguf"), "--jsonl"}, {.input = deep + "\n"}), {"nested too deeply"}, 2);
  expect_one_line(run_carat({"eval", path("m.gguf")}, {.input = "{\"ids\": [" + std::string(1 << 20, '1') + "]}\n"}),
                  {"line 1", "a number that is too long"}, 2);
}

}  // namespace
}  // namespace carat::test
