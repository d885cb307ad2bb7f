// Ids to text, one at a time: every push gives the text that has become certain, always whole code points of valid
// UTF-8.
//
// Only byte pieces are ever held back. Hugging Face replaces a run of them by U+FFFD, one a byte, unless the run as a
// whole is valid UTF-8, so what a run says is known when something else follows it, or at the end. Runs are short: a
// space already ends one.
#pragma once

#include <cstdint>
#include <string>

namespace carat {

class Tokenizer;

class Detokenizer {
 public:
  // The tokenizer must outlive it. `with_control` writes control tokens as their names; otherwise they give no text.
  explicit Detokenizer(const Tokenizer& tokenizer, bool with_control = false)
      : tokenizer_(&tokenizer), with_control_(with_control) {}

  std::string push(int32_t id);
  void push(int32_t id, std::string& text);  // appends instead
  // What was held back; the next push begins a new text.
  std::string finish();

 private:
  void flush(std::string& text);

  const Tokenizer* tokenizer_;
  bool with_control_;
  std::string bytes_;  // of the run of byte pieces so far
};

}  // namespace carat
