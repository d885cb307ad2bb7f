// Function calls as Gemma 3 writes them, read character by character:
//
//   [get_weather(city="Oslo"), now()]                          a Python list
//   ```tool_code                                               a fence, with calls by themselves or as a list
//   print(get_weather(city="Oslo"))
//   ```
//   {"name": "get_weather", "parameters": {"city": "Oslo"}}    JSON, one or a list, in a fence or not
//
// Only functions that the request offers are calls, and only what is well formed to its end is. Linear time: nothing is read twice.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/literal_to_json.h"

namespace carat::chat {

class CallParser {
 public:
  enum class Fed { kMore, kDone, kBad };
  struct Call {
    std::string name;
    std::string arguments;  // a JSON object, as far as it has been read
    bool begun = false;     // name and arguments are certain to be this call's
    bool ended = false;
  };

  // The names must outlive it.
  explicit CallParser(std::span<const std::string> names) : names_(names) {}

  static bool may_begin(char c) { return c == '`' || c == '[' || c == '{'; }

  void begin();
  Fed feed(char c);
  // The text ends here: were they calls?
  bool complete_at_end() const {
    return fenced_ && (at_ == At::kItem || at_ == At::kAfterItem) && !in_list_ && !in_print_ && !calls_.empty();
  }
  const std::vector<Call>& calls() const { return calls_; }

 private:
  enum class At {
    kItem,  // a call, or what closes them
    kBackticks,
    kFenceInfo,
    kName,  // of a Python call
    kArgument,
    kKeyword,
    kEquals,
    kPythonValue,
    kAfterPythonValue,
    kMember,
    kMemberName,
    kColon,
    kCalledName,
    kJsonArguments,
    kIgnored,
    kAfterMember,
    kClosePrint,
    kAfterItem,
    kFenceEnd,
  };

  Fed item(char c);
  Fed feed_literal(char c, At then);
  Fed end_of_call();
  bool known(std::string_view name) const;
  Fed begin_call(std::string_view name);
  Fed member_known(char c);

  std::span<const std::string> names_;
  std::vector<Call> calls_;
  LiteralToJson literal_;
  At at_ = At::kItem;
  bool fenced_ = false, in_list_ = false, in_print_ = false;
  int backticks_ = 0;
  std::string word_;                // a name that is being read
  std::string scrap_;               // a literal that is no argument
  std::vector<std::string> given_;  // the call's arguments or members
};

}  // namespace carat::chat
