// /set in all its forms.
#include <fmt/format.h>

#include "chat/generation_options.h"
#include "chat/model_facts.h"
#include "cli/output.h"
#include "cli/repl/commands.h"
#include "cli/repl/help_text.h"

namespace carat::cli {
namespace {

using Words = std::vector<std::string>;

void set_parameter(const Words& words, ReplState& state) {
  if (words.size() < 4) {
    write(kHelpParameters);
    return;
  }
  const Words values(words.begin() + 3, words.end());
  const Status set = state.session->set_parameter(words[2], values);
  if (set.ok()) {
    say("Set parameter '{}' to '{}'\n", words[2], fmt::join(values, ", "));
    if (!chat::has_effect(words[2])) say("'{}' tunes what Carat does not have: it changes nothing here\n", words[2]);
  } else {
    say("Couldn't set parameter: {}\n", chat::quoted(set.error().message));
  }
}

void set_format(const Words& words, ReplState& state) {
  if (words.size() < 3 || words[2] != "json") {
    say("Invalid or missing format. For 'json' mode use '/set format json'\n");
    return;
  }
  state.shape = chat::any_json_object();
  say("Set format to 'json' mode.\n");
}

}  // namespace

void run_set(const Words& words, ReplState& state) {
  const std::string what = words.size() > 1 ? words[1] : "";
  if (what.empty()) {
    write(kHelpSet);
  } else if (what == "parameter") {
    set_parameter(words, state);
  } else if (what == "system") {
    if (words.size() < 3) {
      write(kHelpSet);
    } else {
      set_system(fmt::format("{}", fmt::join(words.begin() + 2, words.end(), " ")), state);
    }
  } else if (what == "history" || what == "nohistory") {
    state.history = what == "history";
  } else if (what == "wordwrap" || what == "nowordwrap") {
    state.word_wrap = what == "wordwrap";
    say("Set '{}' mode.\n", what);
  } else if (what == "verbose" || what == "quiet") {
    state.verbose = what == "verbose";
    say("Set '{}' mode.\n", what);
  } else if (what == "format") {
    set_format(words, state);
  } else if (what == "noformat") {
    state.shape.reset();
    say("Disabled format.\n");
  } else if (what == "think" || what == "nothink") {
    if (what == "think") {
      say("warning: model \"{}\" does not support thinking output\n", state.session->name());
    }
    if (what == "think" && words.size() > 2) {
      say("Set 'think' mode to '{}'.\n", words[2]);
    } else {
      say("Set '{}' mode.\n", what);
    }
  } else {
    say("Unknown command '/set {}'. Type /? for help\n", what);
  }
}

}  // namespace carat::cli
