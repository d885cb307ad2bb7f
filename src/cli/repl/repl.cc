// The loop: a line becomes a command, or (with those that """ holds together) a message to the model.
#include "cli/repl/repl.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "chat/pictures.h"
#include "cli/home_folder.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/repl/commands.h"
#include "cli/repl/compose.h"
#include "cli/repl/history_file.h"
#include "cli/repl/line_editor.h"
#include "cli/repl/word_wrap.h"
#include "cli/verbose_stats.h"
#include "store/paths.h"
#include "tokenizer/chat_template.h"

namespace carat::cli {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";
constexpr const char* kSpaces = " \t\n";

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' && std::string_view(value) != "0" && std::string_view(value) != "false";
}

std::vector<std::string> split(std::string_view line) {
  std::vector<std::string> words;
  for (size_t at = line.find_first_not_of(kSpaces); at != std::string_view::npos;) {
    const size_t end = std::min(line.find_first_of(kSpaces, at), line.size());
    words.emplace_back(line.substr(at, end - at));
    at = line.find_first_not_of(kSpaces, end);
  }
  return words;
}

// A base model is called one on the first line: somebody who expects a chat should know.
void print_first_line(const chat::ChatSession& session) {
  if (session.model().file.has_chat_template) return;
  say("{} is a base model: it completes text and was not trained to follow instructions{}.\n", session.name(),
      session.prompt_kind() == chat::PromptFormat::Kind::kTemplate
          ? "; its template (/show template) wraps each message"
          : "");
}

class Repl {
 public:
  Repl(ReplState state, std::optional<HistoryFile> history) : state_(std::move(state)), history_(std::move(history)) {}

  void run();

 private:
  std::optional<std::string> read_line(const char* prompt, const char* placeholder);
  std::optional<std::string> read_to_quotes(std::string text);
  void remember(const std::string& line);
  bool handle(const std::string& line);
  void send(const std::string& message);

  ReplState state_;
  std::optional<HistoryFile> history_;
  LineEditor editor_;
  bool ended_ = false;  // Ctrl-D
};

void Repl::run() {
  if (history_ && state_.history) {
    const auto entries = history_->load();
    if (entries.ok()) {
      for (const std::string& entry : *entries) editor_.add_history(entry);
    } else {
      print_error(entries.error());
    }
  }
  print_first_line(*state_.session);
  while (!ended_) {
    const InterruptGuard interrupt;  // from before the line to the end of its answer: no Ctrl-C falls in between
    const auto line = read_line(">>> ", "Send a message (/? for help)");
    if ((line && !handle(*line)) || lost_device()) return;
  }
}

// None after Ctrl-C and Ctrl-D.
std::optional<std::string> Repl::read_line(const char* prompt, const char* placeholder) {
  std::string text;
  while (true) {
    flush();
    LineEditor::Line line = editor_.read(prompt, placeholder, text);
    switch (line.key) {
      case LineEditor::Key::kEnter:
        remember(line.text);
        return std::move(line.text);
      case LineEditor::Key::kInterrupted:
        if (line.text.empty()) say("Use Ctrl + d or /bye to exit.\n");
        return std::nullopt;
      case LineEditor::Key::kEnd:
        ended_ = true;
        return std::nullopt;
      case LineEditor::Key::kEditor:
        auto written = compose_in_editor(line.text);
        if (!written.ok()) print_error(written.error());
        text = written.ok() ? std::move(*written) : std::move(line.text);
    }
  }
}

// `text` and the lines after it, up to """ at the end of one.
std::optional<std::string> Repl::read_to_quotes(std::string text) {
  while (!text.ends_with(kQuotes)) {
    const auto line = read_line("... ", "Press Enter to send");
    if (!line) return std::nullopt;
    text += '\n' + *line;
  }
  text.resize(text.size() - kQuotes.size());
  return text;
}

void Repl::remember(const std::string& line) {
  if (!state_.history || split(line).empty()) return;
  editor_.add_history(line);
  if (!history_) return;
  const Status kept = history_->append(line);
  if (kept.ok()) return;
  print_error(kept.error());
  history_.reset();  // said once
}

// False: the user leaves.
bool Repl::handle(const std::string& line) {
  const std::vector<std::string> words = split(line);
  if (words.empty()) return true;
  if (words.size() > 2 && words[0] == "/set" && words[1] == "system" && words[2].starts_with(kQuotes)) {
    auto text = read_to_quotes(line.substr(line.find(kQuotes) + kQuotes.size()));
    if (text) set_system(std::move(*text), state_);
  } else if (line.starts_with(kQuotes)) {
    const auto message = read_to_quotes(line.substr(kQuotes.size()));
    if (message) send(*message);
  } else if (words[0].starts_with('/') && line.find('\n') == std::string::npos &&
             chat::split_typed_prompt(line, home_folder()).paths.empty()) {
    return run_command(words, state_) == CommandResult::kDone;
  } else {
    send(line);
  }
  return true;
}

void Repl::send(const std::string& message) {
  if (strip_whitespace(message).empty()) return;
  const auto start = std::chrono::steady_clock::now();
  chat::TypedPrompt typed = chat::split_typed_prompt(message, home_folder());
  std::vector<chat::PromptPicture> pictures;
  if (!typed.paths.empty()) {
    if (const Status can = state_.session->open_eyes(); !can.ok()) return print_error(can.error());
    for (const std::string& path : typed.paths) note("Added image '{}'\n", path);
    auto seen = state_.session->look_at(typed.paths, InterruptGuard::interrupted);
    if (!seen.ok()) {
      if (seen.error().code != ErrorCode::kCancelled) print_error(seen.error());
      return;
    }
    pictures = std::move(*seen);
  }
  WordWrap wrap([&] { return state_.word_wrap ? terminal_columns() : 0; });
  bool at_line_start = true;
  const auto write = [&](std::string_view text) {
    const std::string shown = wrap.push(text);
    draw_on_output(shown);
    if (!shown.empty()) at_line_start = shown.back() == '\n';
  };
  const auto notice = [&](std::string_view text) { write(fmt::format("{}[{}]\n", at_line_start ? "" : "\n", text)); };
  state_.session->set_shape(state_.shape);
  const auto reply = state_.session->ask(typed.text, InterruptGuard::interrupted, write, notice, std::move(pictures));
  if (!reply.ok()) return print_error(reply.error());
  write(at_line_start ? "\n" : "\n\n");
  if (!state_.verbose) return;
  VerboseStats stats;
  stats.total_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  stats.usage = reply->usage;
  note_text(format_verbose(stats));
}

}  // namespace

Status run_repl(chat::OpenModel model, const std::string& name, const ReplOptions& options) {
  ReplState state;
  state.options = options.chat;
  state.word_wrap = options.word_wrap;
  state.shape = options.shape;
  state.verbose = options.verbose;
  state.history = !is_set("CARAT_NOHISTORY") && !is_set("OLLAMA_NOHISTORY");
  {
    const InterruptGuard interrupt;
    CARAT_TRY(state.session,
              chat::ChatSession::open(std::move(model), name, options.chat, InterruptGuard::interrupted));
  }
  if (const std::string text = state.session->note(); !text.empty()) note("note: {}\n", text);
  std::optional<HistoryFile> history;
  if (const auto home = store_home(); home.ok()) history.emplace(*home / "history");
  Repl(std::move(state), std::move(history)).run();
  return {};
}

}  // namespace carat::cli
