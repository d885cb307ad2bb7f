// An answer as it streams, taken apart into what is said and what is called. What might become a call is held back until it is one or
// is none; then it is told as a call, or it stays the text that it was. Where a grammar enforces calls nothing need be held back: then a
// call's arguments are told as they come.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "chat/call_parser.h"
#include "chat/marked_calls.h"

namespace carat::chat {

struct ToolEvent {
  enum class Kind { kText, kCall, kArguments, kEnd };
  Kind kind = Kind::kText;
  size_t call = 0;   // which one, from 0
  std::string text;  // what is said; the function's name; the next part of its arguments, a JSON object in all
};

class ToolScanner {
 public:
  enum class Calls {
    kMayCome,
    kEnforced,  // if it begins with '[', the answer is nothing but calls in JSON
    kNamed,     // the answer is nothing but the arguments of the first name
    kMarked,    // between FunctionGemma's marks
  };

  // most: further calls are left out.
  ToolScanner(std::vector<std::string> names, Calls calls, size_t most = SIZE_MAX);
  ToolScanner(const ToolScanner&) = delete;  // its parts refer to its names
  ToolScanner& operator=(const ToolScanner&) = delete;

  std::vector<ToolEvent> push(std::string_view text);
  std::vector<ToolEvent> finish();
  size_t calls() const;

 private:
  std::vector<ToolEvent> within_most(std::vector<ToolEvent> events) const;
  void feed(char c, std::vector<ToolEvent>& out);
  void feed_arguments(std::string_view text, std::vector<ToolEvent>& out);
  void say(std::string_view text, std::vector<ToolEvent>& out);
  void tell_calls(bool whole, std::vector<ToolEvent>& out);
  void end_candidate(bool are_calls, std::vector<ToolEvent>& out);

  const std::vector<std::string> names_;
  const Calls calls_;
  const size_t most_;
  CallParser parser_;
  MarkedCalls marked_;
  LiteralToJson literal_;  // of kNamed
  bool complete_ = false;
  bool in_candidate_ = false;
  bool only_space_ = true;  // so far, or since the last call
  bool begins_line_ = true;
  std::string held_;           // the candidate
  std::string space_;          // that comes before it: nobody misses it before a call
  size_t told_ = 0;            // calls that have been told
  size_t told_before_ = 0;     // of them, by candidates before this one
  size_t told_arguments_ = 0;  // bytes of the last one's
};

}  // namespace carat::chat
