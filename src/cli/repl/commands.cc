// What is no command of the table is unknown; the REPL has already let through what is the path of a file.
#include "cli/repl/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/printable.h"
#include "cli/fetch.h"
#include "cli/interrupt.h"
#include "cli/model_list.h"
#include "cli/output.h"
#include "cli/repl/help_text.h"
#include "store/store.h"

namespace carat::cli {
namespace {

using Words = std::vector<std::string>;

void run_help(const Words& words, ReplState&) {
  if (words.size() == 1) {
    write(kHelpCommands);
  } else if (words[1] == "set" || words[1] == "/set") {
    write(words.size() > 2 && words[2] == "parameter" ? kHelpParameters : kHelpSet);
  } else if (words[1] == "show" || words[1] == "/show") {
    write(kHelpShow);
  } else if (words[1] == "shortcut" || words[1] == "shortcuts") {
    write(kHelpShortcuts);
  }
}

// The model that runs stays until the other one is ready, so that a failure leaves the session as it was.
void run_load(const Words& words, ReplState& state) {
  if (words.size() != 2) {
    say("Usage:\n  /load <modelname>\n");
    return;
  }
  say("Loading model '{}'\n", words[1]);
  flush();
  auto model = open_here(words[1]);
  if (!model.ok()) {
    if (model.error().code != ErrorCode::kNotFound) return print_error(model.error());
    say("Couldn't find model '{}'\n", words[1]);
    return;
  }
  chat::ChatOptions options = state.options;
  options.system.reset();  // of the model that the command line named
  auto session = chat::ChatSession::open(std::move(*model), words[1], options, InterruptGuard::interrupted);
  if (!session.ok()) return print_error(session.error());
  state.session = std::move(*session);
  if (const std::string text = state.session->note(); !text.empty()) note("note: {}\n", text);
}

void run_save(const Words& words, ReplState& state) {
  if (words.size() != 2) {
    say("Usage:\n  /save <modelname>\n");
    return;
  }
  const auto name = ModelName::parse(words[1]);
  if (!name.ok()) {
    say("error: The model name '{}' is invalid\n", escaped(words[1]));
    return;
  }
  const Status saved = state.session->save(*name);
  if (!saved.ok()) return print_error(saved.error());
  say("Created new model '{}'\n", words[1]);
}

void run_clear(const Words&, ReplState& state) {
  state.session->clear();
  say("Cleared session context\n");
}

void run_list(const Words&, ReplState&) {
  const auto store = Store::open();
  if (!store.ok()) return print_error(store.error());
  const auto listing = store->list();
  if (!listing.ok()) return print_error(listing.error());
  for (const Error& problem : listing->problems) print_error(problem);
  write(model_table(listing->models));
}

void run_show_of(const Words& words, ReplState& state) { run_show(words, state); }

constexpr struct {
  std::string_view name;
  void (*run)(const Words&, ReplState&);
} kCommands[] = {{"/set", run_set},     {"/show", run_show_of}, {"/load", run_load}, {"/save", run_save},
                 {"/clear", run_clear}, {"/list", run_list},    {"/?", run_help},    {"/help", run_help}};

}  // namespace

CommandResult run_command(const Words& words, ReplState& state) {
  if (words[0] == "/bye" || words[0] == "/exit") return CommandResult::kLeave;
  const auto command = std::find_if(std::begin(kCommands), std::end(kCommands),
                                    [&](const auto& entry) { return entry.name == words[0]; });
  if (command != std::end(kCommands)) {
    command->run(words, state);
  } else {
    say("Unknown command '{}'. Type /? for help\n", words[0]);
  }
  return CommandResult::kDone;
}

void set_system(std::string text, ReplState& state) {
  const Status set = state.session->set_system(std::move(text));
  if (!set.ok()) return print_error(set.error());
  say("Set system message.\n");
}

void print_error(const Error& error) {
  flush();
  note("error: {}\n", error.message);
}

}  // namespace carat::cli
