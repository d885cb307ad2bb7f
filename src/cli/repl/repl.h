// A conversation on a terminal: `carat run MODEL` without a prompt.
#pragma once

#include "base/result.h"
#include "cli/open_model.h"
#include "cli/repl/chat_session.h"

namespace carat::cli {

struct ReplOptions {
  ChatFlags chat;
  bool word_wrap = true;
  bool verbose = false;
};

// Standard input and output must be a terminal. Returns when the user leaves. Errors: those of loading the model.
Status run_repl(OpenModel model, const std::string& name, const ReplOptions& options);

}  // namespace carat::cli
