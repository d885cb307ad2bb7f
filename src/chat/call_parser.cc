#include "chat/call_parser.h"

#include <algorithm>

namespace carat::chat {
namespace {

constexpr size_t kLongestName = 256, kMostCalls = 64, kMostArguments = 256;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.' || c == ':' || c == '/' || c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

}  // namespace

void CallParser::begin() {
  calls_.clear();
  at_ = At::kItem;
  fenced_ = in_list_ = in_print_ = false;
  backticks_ = 0;
  word_.clear();
}

bool CallParser::known(std::string_view name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

CallParser::Fed CallParser::begin_call(std::string_view name) {
  if (!known(name) && name.starts_with("default_api.")) name.remove_prefix(12);  // Google's examples
  if (!known(name) || calls_.size() == kMostCalls) return Fed::kBad;
  calls_.push_back({std::string(name), "{", true, false});
  return Fed::kMore;
}

CallParser::Fed CallParser::end_of_call() {
  calls_.back().ended = true;
  at_ = in_print_ ? At::kClosePrint : At::kAfterItem;
  const bool whole = !fenced_ && !in_list_;
  return whole ? Fed::kDone : Fed::kMore;
}

CallParser::Fed CallParser::item(char c) {
  if (is_space(c)) return Fed::kMore;
  if (c == '`' && !in_print_ && (calls_.empty() ? !fenced_ && !in_list_ : fenced_ && !in_list_)) {
    backticks_ = 1;
    at_ = calls_.empty() ? At::kBackticks : At::kFenceEnd;
    return Fed::kMore;
  }
  if (c == '[' && !in_list_ && !in_print_ && calls_.empty()) {
    in_list_ = true;
    return Fed::kMore;
  }
  if (c == '{') {
    if (calls_.size() == kMostCalls) return Fed::kBad;
    calls_.push_back({});
    given_.clear();
    at_ = At::kMember;
    return Fed::kMore;
  }
  if (!is_name(c) || (!fenced_ && !in_list_)) return Fed::kBad;
  word_ = c;
  at_ = At::kName;
  return Fed::kMore;
}

CallParser::Fed CallParser::feed_literal(char c, At then) {
  switch (literal_.feed(c)) {
    case LiteralToJson::Fed::kMore:
      return Fed::kMore;
    case LiteralToJson::Fed::kBad:
      return Fed::kBad;
    case LiteralToJson::Fed::kDone:
      at_ = then;
      return Fed::kMore;
    case LiteralToJson::Fed::kDoneBefore:
      at_ = then;
      return feed(c);
  }
  return Fed::kBad;
}

// Behind the colon of a member of {"name": ..., "parameters": {...}}.
CallParser::Fed CallParser::member_known(char c) {
  if (is_space(c)) return Fed::kMore;
  const std::string& member = given_.back();
  scrap_.clear();
  if (member == "name") {
    literal_.begin(scrap_);
    at_ = At::kCalledName;
    return c == '"' || c == '\'' ? feed(c) : Fed::kBad;
  }
  if (member == "parameters" || member == "arguments") {
    Call& call = calls_.back();
    if (c != '{' || !call.arguments.empty()) return Fed::kBad;
    call.begun = !call.name.empty();
    literal_.begin(call.arguments);
    at_ = At::kJsonArguments;
    return feed(c);
  }
  if (member != "type" && member != "id") return Fed::kBad;
  literal_.begin(scrap_);
  at_ = At::kIgnored;
  return c == '"' || c == '\'' ? feed(c) : Fed::kBad;
}

CallParser::Fed CallParser::feed(char c) {
  switch (at_) {
    case At::kItem:
      return item(c);
    case At::kBackticks:
      if (c != '`') return Fed::kBad;
      if (++backticks_ < 3) return Fed::kMore;
      at_ = At::kFenceInfo;
      word_.clear();
      return Fed::kMore;
    case At::kFenceInfo:
      if (c == '\r' || c == ' ') return Fed::kMore;
      if (c == '\n') {
        if (!word_.empty() && word_ != "tool_code" && word_ != "json" && word_ != "python" && word_ != "tool_call") {
          return Fed::kBad;
        }
        fenced_ = true;
        at_ = At::kItem;
        return Fed::kMore;
      }
      word_ += c;
      return word_.size() <= 10 && is_name(c) ? Fed::kMore : Fed::kBad;
    case At::kName:
      if (is_name(c)) {
        word_ += c;
        return word_.size() <= kLongestName ? Fed::kMore : Fed::kBad;
      }
      if (c != '(') return Fed::kBad;
      if (word_ == "print" && fenced_ && !in_print_ && !known(word_)) {
        in_print_ = true;
        at_ = At::kItem;
        return Fed::kMore;
      }
      given_.clear();
      at_ = At::kArgument;
      return begin_call(word_);
    case At::kArgument:
      if (is_space(c)) return Fed::kMore;
      if (c == ')' && given_.empty()) {
        calls_.back().arguments += '}';
        return end_of_call();
      }
      if (!is_name(c)) return Fed::kBad;
      word_ = c;
      at_ = At::kKeyword;
      return Fed::kMore;
    case At::kKeyword:
      if (is_name(c)) {
        word_ += c;
        return word_.size() <= kLongestName ? Fed::kMore : Fed::kBad;
      }
      at_ = At::kEquals;
      return feed(c);
    case At::kEquals:
      if (c == ' ') return Fed::kMore;
      if (c != '=' || given_.size() == kMostArguments || std::find(given_.begin(), given_.end(), word_) != given_.end())
        return Fed::kBad;
      calls_.back().arguments += given_.empty() ? "\"" : ", \"";
      calls_.back().arguments += word_ + "\": ";
      given_.push_back(word_);
      literal_.begin(calls_.back().arguments);
      at_ = At::kPythonValue;
      return Fed::kMore;
    case At::kPythonValue:
      return feed_literal(c, At::kAfterPythonValue);
    case At::kAfterPythonValue:
      if (is_space(c)) return Fed::kMore;
      if (c == ',') {
        at_ = At::kArgument;
        return Fed::kMore;
      }
      if (c != ')') return Fed::kBad;
      calls_.back().arguments += '}';
      return end_of_call();
    case At::kMember:
      if (is_space(c)) return Fed::kMore;
      if (c != '"' && c != '\'') return Fed::kBad;
      scrap_.clear();
      literal_.begin(scrap_);
      at_ = At::kMemberName;
      return feed(c);
    case At::kMemberName:
      return feed_literal(c, At::kColon);
    case At::kColon:
      if (is_space(c)) return Fed::kMore;
      if (scrap_.size() >= 2 && scrap_.front() == '"') {  // the name, read just now
        const std::string name = scrap_.substr(1, scrap_.size() - 2);
        if (c != ':' || given_.size() == kMostArguments ||
            std::find(given_.begin(), given_.end(), name) != given_.end())
          return Fed::kBad;
        given_.push_back(name);
        scrap_.clear();
        return Fed::kMore;
      }
      return member_known(c);
    case At::kCalledName: {
      const Fed fed = feed_literal(c, At::kAfterMember);
      if (at_ == At::kCalledName || fed == Fed::kBad) return fed;
      calls_.back().name = scrap_.substr(1, scrap_.size() - 2);
      return known(calls_.back().name) ? fed : Fed::kBad;
    }
    case At::kJsonArguments:
    case At::kIgnored:
      return feed_literal(c, At::kAfterMember);
    case At::kAfterMember: {
      if (is_space(c)) return Fed::kMore;
      if (c == ',') {
        at_ = At::kMember;
        return Fed::kMore;
      }
      Call& call = calls_.back();
      if (c != '}' || call.name.empty()) return Fed::kBad;
      if (call.arguments.empty()) return Fed::kBad;  // an object that only has a name is data
      call.begun = true;
      return end_of_call();
    }
    case At::kClosePrint:
      if (is_space(c)) return Fed::kMore;
      if (c != ')') return Fed::kBad;
      in_print_ = false;
      at_ = At::kAfterItem;
      return Fed::kMore;
    case At::kAfterItem:
      if (in_list_) {
        if (is_space(c)) return Fed::kMore;
        if (c == ',') {
          at_ = At::kItem;
          return Fed::kMore;
        }
        if (c != ']') return Fed::kBad;
        in_list_ = false;
        return fenced_ ? Fed::kMore : Fed::kDone;
      }
      if (c != '\n' && c != ';' && c != '`') return c == ' ' || c == '\r' ? Fed::kMore : Fed::kBad;
      at_ = At::kItem;
      return c == '`' ? item(c) : Fed::kMore;
    case At::kFenceEnd:
      if (c != '`') return Fed::kBad;
      return ++backticks_ == 3 ? Fed::kDone : Fed::kMore;
  }
  return Fed::kBad;
}

}  // namespace carat::chat
