// A conversation on a terminal: `carat run MODEL` without a prompt.
#pragma once

#include "base/result.h"
#include "chat/chat_session.h"
#include "chat/open_model.h"

namespace carat::cli {

struct ReplOptions {
  chat::ChatOptions chat;
  std::optional<chat::Shape> shape;  // of its answers
  bool word_wrap = true;
  bool verbose = false;
};

// Standard input and output must be a terminal. Returns when the user leaves. Errors: those of loading the model.
Status run_repl(chat::OpenModel model, const std::string& name, const ReplOptions& options);

}  // namespace carat::cli
