// The recorded session of Ollama's REPL, typed again here and compared line by line: everything but the product's name,
// what the model answers, and facts of its file.
#include <gtest/gtest.h>

#include <fstream>
#include <regex>

#include "cli/repl/fixture.h"

namespace carat {
namespace {

struct Exchange {
  std::string typed, reply;
};

constexpr const char* kContinuation = "Press Enter to send";

// A typed line is recorded twice, at its prompt and as its echo; a prompt with the placeholder ends the reply.
std::vector<Exchange> read_recording() {
  std::ifstream file(test::golden("api/ollama-repl.txt"));
  std::vector<Exchange> exchanges;
  bool in_reply = false;
  for (std::string line; std::getline(file, line);) {
    const bool is_prompt =
        line.find(test::kPlaceholder) != std::string::npos || line.find(kContinuation) != std::string::npos;
    if (is_prompt) {
      in_reply = false;
    } else if (in_reply) {
      exchanges.back().reply += line + "\n";
    } else if (line.rfind(">>> ", 0) == 0) {
      exchanges.push_back({line.substr(4), ""});
      std::string echo;
      std::getline(file, echo);
      EXPECT_EQ(echo, exchanges.back().typed);
      in_reply = true;
    }
  }
  return exchanges;
}

std::string replaced(const std::string& text, const char* pattern, const char* with) {
  return std::regex_replace(text, std::regex(pattern), with);
}

// What differs between the two programs, and between the recorded model and the one here.
std::string comparable(std::string text, const std::string& typed) {
  text = replaced(text, "ollama", "carat");
  if (typed == "/show modelfile") return replaced(text, "FROM \\S*/blobs/sha256-[0-9a-f]{64}", "FROM BLOB");
  if (typed != "/show info") return text;
  text = replaced(text, "  Base model\n.*\n\n", "");
  text = replaced(text, "(parameters|context length|embedding length|quantization) +\\S+", "$1");
  return replaced(text, "  +", "  ");
}

using ReplRecording = test::ReplTest;

TEST_F(ReplRecording, EveryLineIsTheSame) {
  const std::vector<Exchange> exchanges = read_recording();
  ASSERT_GE(exchanges.size(), 40U);
  start({"qa"});
  for (const Exchange& exchange : exchanges) {
    SCOPED_TRACE(exchange.typed);
    if (exchange.typed == "/bye") {
      terminal_->type("/bye\r");
      terminal_->read_to_end();
      EXPECT_EQ(terminal_->exit_code(), 0);
      return;
    }
    const bool continues = exchange.typed.rfind("\"\"\"", 0) == 0;
    const std::string reply = this->reply(exchange.typed, continues ? kContinuation : test::kPlaceholder);
    const bool is_message = exchange.typed[0] != '/' && !continues;
    if (!is_message) {
      EXPECT_EQ(comparable(reply, exchange.typed), comparable(exchange.reply, exchange.typed));
    }
    if (HasFailure()) return;
  }
  FAIL() << "the recording ends with /bye";
}

}  // namespace
}  // namespace carat
