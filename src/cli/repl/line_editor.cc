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
#include "cli/repl/history_file.h"

namespace carat::cli {
namespace {

constexpr const char* kPasteOn = "\x1b[?2004h";
constexpr const char* kPasteOff = "\x1b[?2004l";
constexpr const char* kPasteBegin = "\x1b[200~";
constexpr const wchar_t* kPasteEnd = L"\x1b[201~";
constexpr size_t kMaxPaste = 1 << 20;  // characters

void write_terminal(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

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

// One character of UTF-8 from standard input. 1, 0 at the end or after a signal to end, -1 for an error.
int read_character(wchar_t* character) {
  std::mbstate_t state{};
  while (true) {
    char byte = 0;
    const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
    if (count < 0 && errno == EINTR) {
      if (InterruptGuard::interrupted()) return 0;
      continue;  // a resize: libedit's handler has redrawn the line
    }
    if (count <= 0) return static_cast<int>(count);
    const size_t length = std::mbrtowc(character, &byte, 1, &state);
    if (length == static_cast<size_t>(-2)) continue;
    if (length != static_cast<size_t>(-1)) return 1;
    state = {};  // no UTF-8: that byte is left out
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

  static unsigned char suspend(EditLine* editor, int) {
    const bool marks_pastes = self(editor).has_escape_codes_;
    if (marks_pastes) write_terminal(kPasteOff);
    ::raise(SIGTSTP);  // libedit's handlers put the rest of the terminal in order, before and after
    if (marks_pastes) write_terminal(kPasteOn);
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
      if (c == L'\r' && i + 1 < text.size() && text[i + 1] == L'\n') continue;
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
  el_set(editor, EL_SETTY, "-d", "-isig", nullptr);  // Ctrl-C, Ctrl-Z and Ctrl-\ are keys while a line is edited

  const struct {
    const char* name;
    const char* what;
    unsigned char (*function)(EditLine*, int);
  } functions[] = {{"carat-interrupt", "Give the line up", &Keys::interrupt},
                   {"carat-compose", "Go on in the editor", &Keys::compose},
                   {"carat-end", "Leave, or delete a character", &Keys::end_or_delete},
                   {"carat-suspend", "Stop the program", &Keys::suspend},
                   {"carat-paste", "Insert what is pasted", &Keys::paste}};
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
      {"\\e[1;5C", "em-next-word"}, {"\\e[200~", "carat-paste"},
  };
  for (const auto& b : bindings) el_set(editor, EL_BIND, b.key, b.function, nullptr);
}

LineEditor::~LineEditor() = default;

LineEditor::Line LineEditor::read(const std::string& prompt, const std::string& placeholder, const std::string& text) {
  prompt_ = prompt;
  placeholder_ = placeholder;
  key_ = Key::kEnter;
  if (!text.empty()) el_push(editor_.get(), (kPasteBegin + text + "\x1b[201~").c_str());
  if (has_escape_codes_) write_terminal(kPasteOn);
  el_set(editor_.get(), EL_PREP_TERM, 1);  // before libedit would, at its first read: what is typed now echoes once
  int length = 0;
  const char* read = el_gets(editor_.get(), &length);
  if (has_escape_codes_) write_terminal(kPasteOff);
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
