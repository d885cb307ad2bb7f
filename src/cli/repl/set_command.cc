// /set in all its forms.
#include <fmt/format.h>

#include "chat/model_facts.h"
#include "cli/repl/commands.h"
#include "cli/repl/help_text.h"

namespace carat::cli {
namespace {

using Words = std::vector<std::string>;

void set_parameter(const Words& words, ReplState& state) {
  if (words.size() < 4) {
    fmt::print("{}", kHelpParameters);
    return;
  }
  const Words values(words.begin() + 3, words.end());
  const Status set = state.session->set_parameter(words[2], values);
  if (set.ok()) {
    fmt::print("Set parameter '{}' to '{}'\n", words[2], fmt::join(values, ", "));
  } else {
    fmt::print("Couldn't set parameter: {}\n", chat::quoted(set.error().message));
  }
}

void set_format(const Words& words, ReplState& state) {
  if (words.size() < 3 || words[2] != "json") {
    fmt::print("Invalid or missing format. For 'json' mode use '/set format json'\n");
    return;
  }
  state.json_format = true;
  fmt::print("Set format to 'json' mode.\n");
}

}  // namespace

void run_set(const Words& words, ReplState& state) {
  const std::string what = words.size() > 1 ? words[1] : "";
  if (what.empty()) {
    fmt::print("{}", kHelpSet);
  } else if (what == "parameter") {
    set_parameter(words, state);
  } else if (what == "system") {
    if (words.size() < 3) {
      fmt::print("{}", kHelpSet);
    } else {
      set_system(fmt::format("{}", fmt::join(words.begin() + 2, words.end(), " ")), state);
    }
  } else if (what == "history" || what == "nohistory") {
    state.history = what == "history";
  } else if (what == "wordwrap" || what == "nowordwrap") {
    state.word_wrap = what == "wordwrap";
    fmt::print("Set '{}' mode.\n", what);
  } else if (what == "verbose" || what == "quiet") {
    state.verbose = what == "verbose";
    fmt::print("Set '{}' mode.\n", what);
  } else if (what == "format") {
    set_format(words, state);
  } else if (what == "noformat") {
    state.json_format = false;
    fmt::print("Disabled format.\n");
  } else if (what == "think" || what == "nothink") {
    if (what == "think") {
      fmt::print("warning: model \"{}\" does not support thinking output\n", state.session->name());
    }
    fmt::print("Set '{}' mode.\n", what);
  } else {
    fmt::print("Unknown command '/set {}'. Type /? for help\n", what);
  }
}

}  // namespace carat::cli
