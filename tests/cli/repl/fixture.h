// A store of its own with two tiny models of random weights, and a conversation with one of them on a pseudo-terminal.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "model/fixture.h"
#include "store/store.h"
#include "support/paths.h"
#include "support/process.h"
#include "support/pty.h"

namespace carat::test {

inline constexpr const char* kPlaceholder = "Send a message (/? for help)";

class ReplTest : public testing::Test {
 protected:
  // tiny: completes what it gets. qa: the same with the template and the stop texts of the recorded session.
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryDirectory>();
    const std::string file = (folder_->path() / "tiny.gguf").string();
    ASSERT_EQ(run_carat({"synth", "tiny", "--type", "q8_0", file}).exit_code, 0);
    ProcessOptions options;
    options.environment = {{"CARAT_HOME", home().string()}};
    const ProcessResult pulled = run_carat({"pull", file, "--name", "tiny"}, options);
    ASSERT_EQ(pulled.exit_code, 0) << pulled.err;
    const Store store(home());
    Manifest manifest = store.find(ModelName::parse("tiny").value()).value().manifest;
    manifest.prompt_template = "Question: {{ .Prompt }}\nAnswer:";
    manifest.stops = {"\nQuestion:", "\n"};
    ASSERT_TRUE(store.save(ModelName::parse("qa").value(), manifest).ok());
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::filesystem::path home() { return folder_->path() / "home"; }

  void TearDown() override { std::filesystem::remove(home() / "history"); }

  // Starts `carat run`, up to the first prompt; returns what came before it.
  std::string start(std::vector<std::string> arguments,
                    std::vector<std::pair<std::string, std::string>> environment = {}, int columns = 80) {
    arguments.insert(arguments.begin(), {kCaratBinary, "run", "--threads", "1"});
    environment.emplace_back("CARAT_HOME", home().string());
    terminal_ = std::make_unique<Pty>(std::move(arguments), environment, columns);
    return before_prompt(terminal_->read_to(kPlaceholder));
  }

  // Types the keys and Enter; returns the lines between what was typed and the next prompt.
  std::string reply(const std::string& keys, const char* next = kPlaceholder) {
    terminal_->type(keys + "\r");
    const std::string all = before_prompt(terminal_->read_to(next));
    return all.substr(std::min(all.find('\n') + 1, all.size()));
  }

  // Ctrl-D, and what comes after it.
  void leave() {
    terminal_->type("\x04");
    terminal_->read_to_end();
    EXPECT_EQ(terminal_->exit_code(), 0);
  }

  static std::string before_prompt(const std::string& raw) {
    const std::string text = plain(raw);
    const size_t prompt = std::max(text.rfind(">>> ") + 1, text.rfind("... ") + 1);
    return prompt == 0 ? text : text.substr(0, prompt - 1);
  }

  std::unique_ptr<Pty> terminal_;

 private:
  static inline std::unique_ptr<TemporaryDirectory> folder_;
};

}  // namespace carat::test
