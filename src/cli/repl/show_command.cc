// /show in all its forms: what `carat show` prints, and what this session has set beside it.
#include <fmt/format.h>

#include "chat/model_facts.h"
#include "cli/info_text.h"
#include "cli/output.h"
#include "cli/repl/commands.h"
#include "cli/repl/help_text.h"
#include "store/store.h"

namespace carat::cli {
namespace {

void show_parameters(const chat::ChatSession& session) {
  const std::string own = chat::parameters_text(chat::facts_of(session.model()));
  say("Model defined parameters:\n");
  if (own.empty()) say("  No additional parameters were specified for this model.\n");
  for (size_t at = 0; at < own.size();) {
    const size_t end = own.find('\n', at);
    say("  {}\n", own.substr(at, end - at));
    at = end + 1;
  }
  say("\n");
  if (session.parameters().empty()) return;
  say("User defined parameters:\n");
  for (const auto& [name, values] : session.parameters()) {
    for (const std::string& value : values) {
      say("  {:<30} {}\n", name, name == "stop" ? chat::quoted(value) : value);
    }
  }
  say("\n");
}

void show_license(const chat::ChatSession& session) {
  const auto store = Store::open();
  const auto text =
      store.ok() ? store->license_text(session.model().resolved.license) : Result<std::string>(store.error());
  if (!text.ok()) return print_error(text.error());
  if (text->empty()) {
    say("No license was specified for this model.\n");
  } else {
    say("{}\n", *text);
  }
}

void show_system(const chat::ChatSession& session) {
  if (session.system().empty()) {
    say("No system message was specified for this model.\n");
  } else {
    say("{}\n\n", session.system());
  }
}

void show_template(const chat::ChatSession& session) {
  const auto& text = session.model().resolved.prompt_template;
  if (text) {
    say("{}\n", *text);
  } else if (session.model().file.has_chat_template) {
    say("The model's own: Gemma's turns.\n");
  } else {
    say("No prompt template was specified for this model.\n");
  }
}

}  // namespace

void run_show(const std::vector<std::string>& words, const ReplState& state) {
  const chat::ChatSession& session = *state.session;
  const std::string what = words.size() > 1 ? words[1] : "";
  if (what.empty()) {
    write(kHelpShow);
  } else if (what == "info") {
    write(info_text(session.facts()));
  } else if (what == "license") {
    show_license(session);
  } else if (what == "modelfile") {
    say("{}\n", chat::modelfile_text(session.facts()));
  } else if (what == "parameters") {
    show_parameters(session);
  } else if (what == "system") {
    show_system(session);
  } else if (what == "template") {
    show_template(session);
  } else {
    say("Unknown command '/show {}'. Type /? for help\n", what);
  }
}

}  // namespace carat::cli
