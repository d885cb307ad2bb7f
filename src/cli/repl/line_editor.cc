// Terminals mark what is pasted (bracketed paste), so its newlines go into the line instead of ending it. Keys that end
// a line in a way of their own note that and type Enter, since only libedit's Enter leaves the cursor in a good place.
#include "cli/repl/line_editor.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <cwctype>

#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/repl/history_file.h"

namespace carat::cli {
namespace {

constexpr const char* kPasteOn = "\x1b[?2004h";
constexpr const char* kPasteOff = "\x1b[?2004l";
constexpr const char* kPasteBegin = "\x1b[200~";
constexpr const wchar_t* kPasteEnd = L"\x1b[201~";
constexpr size_t kMaxPaste = 1 << 20;  // characters

void write_terminal(const std::string& text) { draw_on_output(text); }

// libedit and wcwidth need a locale that reads UTF-8; a C locale is no reason to take only ASCII.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
}

bool knows_escape_codes() {
  const char* terminal = std::getenv("TERM");
  return terminal != nullptr && *terminal != '\0' && std::strcmp(terminal, "dumb") != 0;
}

bool line_is_empty(EditLine* editor) {
  const LineInfoW* line = el_wline(editor);
  return line->lastchar == line->buffer;
}

// A byte from standard input: 1, 0 at the end or after a signal to end, -1 for an error.
int read_byte(char* byte) {
  while (true) {
    const ssize_t count = ::read(STDIN_FILENO, byte, 1);
    if (count >= 0 || errno != EINTR) return static_cast<int>(count);
    if (InterruptGuard::interrupted()) return 0;
    // else a resize: libedit's handler has redrawn the line
  }
}

// One character of UTF-8; returns as read_byte. Bytes that are none are left out, and nothing but they: the key after
// half a character counts.
int read_character(wchar_t* character) {
  std::string bytes;
  while (true) {
    char byte = 0;
    if (const int count = read_byte(&byte); count != 1) return count;
    bytes += byte;
    while (!bytes.empty()) {
      std::mbstate_t state{};
      const size_t length = std::mbrtowc(character, bytes.data(), bytes.size(), &state);
      if (length == static_cast<size_t>(-2)) break;  // the rest is to come
      if (length != static_cast<size_t>(-1)) return 1;
      bytes.erase(0, 1);
    }
  }
}

}  // namespace

struct LineEditor::Keys {
  static LineEditor& self(EditLine* editor) {
    void* data = nullptr;
    el_get(editor, EL_CLIENTDATA, &data);
    return *static_cast<LineEditor*>(data);
  }

  static char* prompt(EditLine* editor) { return self(editor).prompt_.data(); }

  static int read(EditLine* editor, wchar_t* character) {
    LineEditor& me = self(editor);
    if (line_is_empty(editor)) me.show_placeholder();
    const int count = read_character(character);
    me.hide_placeholder();
    return count;
  }

  static unsigned char end_line(EditLine* editor, Key key) {
    self(editor).key_ = key;
    el_push(editor, "\n");
    return CC_NORM;
  }
  static unsigned char interrupt(EditLine* editor, int) { return end_line(editor, Key::kInterrupted); }
  static unsigned char compose(EditLine* editor, int) { return end_line(editor, Key::kEditor); }

  static unsigned char end_or_delete(EditLine* editor, int) {
    const LineInfoW* line = el_wline(editor);
    if (line->lastchar == line->buffer) return end_line(editor, Key::kEnd);
    if (line->cursor == line->lastchar) return CC_ERROR;
    el_cursor(editor, 1);
    el_deletestr(editor, 1);
    return CC_REFRESH;
  }

  static unsigned char new_line(EditLine* editor, int) {
    return el_winsertstr(editor, L"\n") == 0 ? CC_REFRESH : CC_ERROR;
  }

  static unsigned char suspend(EditLine* editor, int) {
    self(editor).mark_pastes(false);
    ::raise(SIGTSTP);  // libedit's handlers put the rest of the terminal in order, before and after
    self(editor).mark_pastes(true);
    return CC_REDISPLAY;
  }

  // Everything up to the end mark; carriage returns are newlines, other control characters are left out.
  static unsigned char paste(EditLine* editor, int) {
    std::wstring text;
    const size_t mark = std::wcslen(kPasteEnd);
    wchar_t character = 0;
    while (text.size() < kMaxPaste && el_wgetc(editor, &character) == 1) {
      text += character;
      if (text.size() >= mark && text.compare(text.size() - mark, mark, kPasteEnd) == 0) {
        text.resize(text.size() - mark);
        break;
      }
    }
    std::wstring clean;
    for (size_t i = 0; i < text.size(); ++i) {
      const wchar_t c = text[i];
      // The terminal swaps the two, so a CR LF comes the other way round.
      const wchar_t next = i + 1 < text.size() ? text[i + 1] : L'\0';
      if ((c == L'\r' && next == L'\n') || (c == L'\n' && next == L'\r')) continue;
      if (c == L'\r') {
        clean += L'\n';
      } else if (c == L'\n' || c == L'\t' || std::iswcntrl(static_cast<wint_t>(c)) == 0) {
        clean += c;
      }
    }
    if (!clean.empty() && el_winsertstr(editor, clean.c_str()) != 0) return CC_ERROR;
    return CC_REFRESH;
  }
};

LineEditor::LineEditor() : has_escape_codes_(knows_escape_codes()) {
  use_utf8();
  history_.reset(history_init());
  HistEvent event;
  history(history_.get(), &event, H_SETSIZE, static_cast<int>(kHistoryEntries));
  history(history_.get(), &event, H_SETUNIQUE, 1);

  editor_.reset(el_init("carat", stdin, stdout, stderr));
  EditLine* editor = editor_.get();
  el_set(editor, EL_CLIENTDATA, this);
  el_set(editor, EL_PROMPT, &Keys::prompt);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_HIST, history, history_.get());
  el_set(editor, EL_SIGNAL, 1);
  el_set(editor, EL_GETCFN, &Keys::read);
  // Ctrl-C, Ctrl-Z, Ctrl-\, Ctrl-S and Ctrl-Q are keys while a line is edited. Enter comes as a newline, as it does from
  // what was typed before, and so Ctrl-J as a carriage return.
  el_set(editor, EL_SETTY, "-d", "-isig", "-ixon", "-ixoff", "+icrnl", "+inlcr", nullptr);

  const struct {
    const char* name;
    const char* what;
    unsigned char (*function)(EditLine*, int);
  } functions[] = {{"carat-interrupt", "Give the line up", &Keys::interrupt},
                   {"carat-compose", "Go on in the editor", &Keys::compose},
                   {"carat-end", "Leave, or delete a character", &Keys::end_or_delete},
                   {"carat-suspend", "Stop the program", &Keys::suspend},
                   {"carat-paste", "Insert what is pasted", &Keys::paste},
                   {"carat-newline", "Begin a new line of the message", &Keys::new_line}};
  for (const auto& f : functions) el_set(editor, EL_ADDFN, f.name, f.what, f.function);
  const struct {
    const char* key;
    const char* function;
  } bindings[] = {
      {"^A", "ed-move-to-beg"},     {"^E", "ed-move-to-end"},          {"^B", "ed-prev-char"},
      {"^F", "ed-next-char"},       {"\\eb", "ed-prev-word"},          {"\\ef", "em-next-word"},
      {"^K", "ed-kill-line"},       {"^U", "vi-kill-line-prev"},       {"^W", "ed-delete-prev-word"},
      {"^L", "ed-clear-screen"},    {"^G", "carat-compose"},           {"^C", "carat-interrupt"},
      {"^D", "carat-end"},          {"^Z", "carat-suspend"},           {"^R", "em-inc-search-prev"},
      {"^P", "ed-prev-history"},    {"^N", "ed-next-history"},         {"\\e[A", "ed-prev-history"},
      {"\\e[B", "ed-next-history"}, {"\\e[C", "ed-next-char"},         {"\\e[D", "ed-prev-char"},
      {"\\e[H", "ed-move-to-beg"},  {"\\e[F", "ed-move-to-end"},       {"\\e[1~", "ed-move-to-beg"},
      {"\\e[4~", "ed-move-to-end"}, {"\\e[3~", "ed-delete-next-char"}, {"\\e[1;5D", "ed-prev-word"},
      {"\\e[1;5C", "em-next-word"}, {"\\e[200~", "carat-paste"},       {"^M", "carat-newline"},
  };
  for (const auto& b : bindings) el_set(editor, EL_BIND, b.key, b.function, nullptr);
}

LineEditor::~LineEditor() { mark_pastes(false); }

void LineEditor::mark_pastes(bool on) {
  if (!has_escape_codes_ || on == pastes_are_marked_) return;
  pastes_are_marked_ = on;
  write_terminal(on ? kPasteOn : kPasteOff);
}

LineEditor::Line LineEditor::read(const std::string& prompt, const std::string& placeholder, const std::string& text) {
  prompt_ = prompt;
  placeholder_ = placeholder;
  key_ = Key::kEnter;
  if (!text.empty()) el_push(editor_.get(), (kPasteBegin + text + "\x1b[201~").c_str());
  mark_pastes(true);  // and they stay so between the lines: what is pasted during an answer is one message too
  el_set(editor_.get(), EL_PREP_TERM, 1);  // before libedit would, at its first read: what is typed now echoes once
  int length = 0;
  const char* read = el_gets(editor_.get(), &length);
  if (key_ == Key::kEditor) mark_pastes(false);  // the terminal is the editor's now
  if (read == nullptr || length <= 0) return {Key::kEnd, {}};
  Line line{key_, read};
  if (line.text.ends_with('\n')) line.text.pop_back();
  return line;
}

void LineEditor::add_history(const std::string& entry) {
  HistEvent event;
  history(history_.get(), &event, H_ENTER, entry.c_str());
}

// The cursor is where libedit left it, after the prompt, and must be there again when libedit goes on.
void LineEditor::show_placeholder() {
  if (placeholder_.empty() || placeholder_shown_ || !has_escape_codes_) return;
  write_terminal("\x1b[2m" + placeholder_ + "\x1b[0m\x1b[" + std::to_string(placeholder_.size()) + "D");
  placeholder_shown_ = true;
}

void LineEditor::hide_placeholder() {
  if (!placeholder_shown_) return;
  write_terminal("\x1b[K");
  placeholder_shown_ = false;
  placeholder_.clear();  // once a line
}

}  // namespace carat::cli
