// One line from a terminal, edited with libedit: UTF-8, history and its search, and the keys that `/? shortcuts` names.
// The terminal is in libedit's mode only while a line is being read, so that Ctrl-C during an answer is a signal.
#pragma once

#include <histedit.h>

#include <memory>
#include <string>
#include <vector>

namespace carat::cli {

class LineEditor {
 public:
  enum class Key {
    kEnter,        // a line
    kInterrupted,  // Ctrl-C; the text is what stood on the line
    kEditor,       // Ctrl-G; likewise
    kEnd,          // Ctrl-D on an empty line, a signal to end, or the terminal is gone
  };
  struct Line {
    Key key = Key::kEnd;
    std::string text;  // may hold newlines, where they were pasted
  };

  // Takes standard input and output, which must be a terminal. An InterruptGuard must live while a line is read.
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // `placeholder` stands dimly after the prompt until the first key; `text` is there to be edited.
  Line read(const std::string& prompt, const std::string& placeholder, const std::string& text = {});

  // What the arrow keys and Ctrl-R find; in memory only.
  void add_history(const std::string& entry);

 private:
  struct Keys;  // the functions that libedit calls

  void mark_pastes(bool on);
  void show_placeholder();
  void hide_placeholder();

  struct EditLineEnd {
    void operator()(EditLine* editor) const { el_end(editor); }
  };
  struct HistoryEnd {
    void operator()(History* history) const { history_end(history); }
  };

  bool has_escape_codes_;
  bool pastes_are_marked_ = false;
  std::unique_ptr<History, HistoryEnd> history_;
  std::unique_ptr<EditLine, EditLineEnd> editor_;
  std::string prompt_, placeholder_;
  Key key_ = Key::kEnter;           // how the line that is being read ends
  bool placeholder_shown_ = false;  // on the screen now
};

}  // namespace carat::cli
