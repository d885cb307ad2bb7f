// A Python or JSON literal, read character by character and written as JSON: 'it''s', True and {"a": [1]} alike. Models call
// functions in either notation, and in mixtures of both. Time is linear, memory is the depth; nothing is looked at twice.
#pragma once

#include <string>
#include <vector>

namespace carat::chat {

class LiteralToJson {
 public:
  enum class Fed {
    kMore,
    kDone,        // with this character
    kDoneBefore,  // it was complete without this character
    kBad,         // no literal
  };

  // A new literal; its JSON is appended to `out`, which is not cleared: whole characters of a text as they come.
  void begin(std::string& out);
  Fed feed(char c);

 private:
  enum class At {
    kValue,
    kValueOrClose,
    kKeyOrClose,
    kKey,
    kColon,
    kAfter,
    kWord,
    kFirstQuote,
    kSecondQuote,
    kText,
    kEscape,
    kHex,
  };

  Fed value(char c);
  Fed close(char c);
  Fed text(char c);
  Fed escape(char c);
  Fed end_of_value(bool with_this_character);
  bool end_word();
  Fed put(char c);

  std::string* out_ = nullptr;
  At at_ = At::kValue;
  std::string open_;  // the brackets that are open
  std::string word_;  // a number or a name
  char quote_ = 0;
  bool triple_ = false, is_key_ = false;
  int quotes_ = 0;  // in a row, within a triple one
  int digits_ = 0;  // of an escape that are still to come
  char32_t code_ = 0;
};

}  // namespace carat::chat
