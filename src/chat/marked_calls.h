// One function call between FunctionGemma's marks, read character by character:
//
//   <start_function_call>call:get_weather{city:<escape>Oslo<escape>,days:[1,2]}<end_function_call>
//
// Keys stand without quotes, texts between <escape> marks, which is what lets them hold anything.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/call_parser.h"

namespace carat::chat {

inline constexpr std::string_view kStartCall = "<start_function_call>", kEndCall = "<end_function_call>",
                                  kStartResponse = "<start_function_response>",
                                  kEndResponse = "<end_function_response>",
                                  kStartDeclaration = "<start_function_declaration>",
                                  kEndDeclaration = "<end_function_declaration>", kEscape = "<escape>";

class MarkedCalls {
 public:
  // The names must outlive it.
  explicit MarkedCalls(std::span<const std::string> names) : names_(names) {}

  void begin();
  CallParser::Fed feed(char c);
  bool complete_at_end() const { return at_ == At::kEndMark; }
  const std::vector<CallParser::Call>& calls() const { return calls_; }

 private:
  enum class At { kMark, kName, kKeyOrClose, kKey, kValue, kValueOrClose, kOpenText, kText, kWord, kAfter, kEndMark };

  CallParser::Fed value(char c);
  CallParser::Fed close(char c);
  bool match(std::string_view mark, char c);  // false: it is another text
  void put(char c);

  std::span<const std::string> names_;
  std::vector<CallParser::Call> calls_;
  At at_ = At::kMark;
  size_t matched_ = 0;  // characters of the mark that is being read
  std::string word_, open_;
};

}  // namespace carat::chat
