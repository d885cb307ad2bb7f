#include "chat/marked_calls.h"

#include <fmt/format.h>

#include <algorithm>

namespace carat::chat {
namespace {

using Fed = CallParser::Fed;
constexpr size_t kMostDepth = 64, kLongestWord = 256;
constexpr std::string_view kBegin = "<start_function_call>call:";

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.' || c == '+' || c == '$' || c == '/' || c == ' ' || static_cast<unsigned char>(c) >= 0x80;
}

bool is_json_word(const std::string& word) {
  if (word == "true" || word == "false" || word == "null") return true;
  std::string made;
  LiteralToJson number;
  number.begin(made);
  for (const char c : word) {
    if (number.feed(c) != LiteralToJson::Fed::kMore) return false;
  }
  return number.feed(',') == LiteralToJson::Fed::kDoneBefore && made == word;
}

}  // namespace

void MarkedCalls::begin() {
  calls_.assign(1, {});
  at_ = At::kMark;
  matched_ = 0;
  word_.clear();
  open_.clear();
}

bool MarkedCalls::match(std::string_view mark, char c) {
  if (matched_ >= mark.size() || mark[matched_] != c) return false;
  ++matched_;
  return true;
}

void MarkedCalls::put(char c) {
  std::string& out = calls_.back().arguments;
  if (c == '"' || c == '\\') {
    out += '\\';
    out += c;
  } else if (static_cast<unsigned char>(c) < 0x20) {
    out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
  } else {
    out += c;
  }
}

Fed MarkedCalls::close(char c) {
  if (open_.empty() || (c == '}') != (open_.back() == '{') || (c != '}' && c != ']')) return Fed::kBad;
  open_.pop_back();
  calls_.back().arguments += c;
  at_ = open_.empty() ? At::kEndMark : At::kAfter;
  matched_ = 0;
  if (open_.empty()) calls_.back().ended = true;
  return Fed::kMore;
}

Fed MarkedCalls::value(char c) {
  std::string& out = calls_.back().arguments;
  if (c == '<') {
    at_ = At::kOpenText;
    matched_ = 1;
    out += '"';
  } else if (c == '{' || c == '[') {
    if (open_.size() == kMostDepth) return Fed::kBad;
    open_ += c;
    out += c;
    at_ = c == '{' ? At::kKeyOrClose : At::kValueOrClose;
  } else if (c == ']' && at_ == At::kValueOrClose) {
    return close(c);
  } else if (is_word(c)) {
    word_ = c;
    at_ = At::kWord;
  } else {
    return Fed::kBad;
  }
  return Fed::kMore;
}

Fed MarkedCalls::feed(char c) {
  CallParser::Call& call = calls_.back();
  switch (at_) {
    case At::kMark:
      if (!match(kBegin, c)) return Fed::kBad;
      if (matched_ == kBegin.size()) at_ = At::kName;
      return Fed::kMore;
    case At::kName:
      if (c != '{') {
        word_ += c;
        return is_word(c) && word_.size() <= kLongestWord ? Fed::kMore : Fed::kBad;
      }
      if (std::find(names_.begin(), names_.end(), word_) == names_.end()) return Fed::kBad;
      call.name = word_;
      call.begun = true;
      call.arguments = open_ = "{";
      at_ = At::kKeyOrClose;
      return Fed::kMore;
    case At::kKeyOrClose:
      if (c == '}') return close(c);
      word_.clear();
      at_ = At::kKey;
      return feed(c);
    case At::kKey:
      if (c != ':') {
        word_ += c;
        return is_word(c) && word_.size() <= kLongestWord ? Fed::kMore : Fed::kBad;
      }
      if (word_.empty()) return Fed::kBad;
      call.arguments += "\"" + word_ + "\": ";
      at_ = At::kValue;
      return Fed::kMore;
    case At::kValue:
    case At::kValueOrClose:
      return value(c);
    case At::kOpenText:
      if (!match(kEscape, c)) return Fed::kBad;
      if (matched_ < kEscape.size()) return Fed::kMore;
      at_ = At::kText;
      matched_ = 0;
      return Fed::kMore;
    case At::kText:
      if (match(kEscape, c)) {
        if (matched_ < kEscape.size()) return Fed::kMore;
        call.arguments += '"';
        at_ = At::kAfter;
        return Fed::kMore;
      }
      for (size_t i = 0; i < matched_; ++i) put(kEscape[i]);
      matched_ = 0;
      if (match(kEscape, c)) return Fed::kMore;
      put(c);
      return Fed::kMore;
    case At::kWord:
      if (is_word(c)) {
        word_ += c;
        return word_.size() <= kLongestWord ? Fed::kMore : Fed::kBad;
      }
      if (!is_json_word(word_)) return Fed::kBad;
      call.arguments += word_;
      at_ = At::kAfter;
      return feed(c);
    case At::kAfter:
      if (c != ',') return close(c);
      call.arguments += ", ";
      at_ = open_.back() == '{' ? At::kKey : At::kValue;
      word_.clear();
      return Fed::kMore;
    case At::kEndMark:
      if (!match(kEndCall, c)) return Fed::kBad;
      return matched_ == kEndCall.size() ? Fed::kDone : Fed::kMore;
  }
  return Fed::kBad;
}

}  // namespace carat::chat
