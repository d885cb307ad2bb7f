// The slash commands of the REPL. Each prints its reply to standard output.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chat/chat_session.h"

namespace carat::cli {

struct ReplState {
  chat::ChatOptions options;
  std::unique_ptr<chat::ChatSession> session;
  bool history = true;
  bool word_wrap = true;
  bool verbose = false;
  std::optional<chat::Shape> shape;  // of the answers
};

enum class CommandResult { kDone, kLeave };

// `words`: the line at its spaces, "/set" first; there is at least one.
CommandResult run_command(const std::vector<std::string>& words, ReplState& state);

// The parts of it that have forms of their own; words[0] is "/set", "/show".
void run_set(const std::vector<std::string>& words, ReplState& state);
void run_show(const std::vector<std::string>& words, const ReplState& state);

void set_system(std::string text, ReplState& state);

// "error: <message>" on standard error, after what standard output still holds.
void print_error(const Error& error);

}  // namespace carat::cli
