#include "chat/tool_scanner.h"

#include <algorithm>
#include <utility>

namespace carat::chat {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

ToolScanner::ToolScanner(std::vector<std::string> names, Calls calls, size_t most)
    : names_(std::move(names)), calls_(calls), most_(most), parser_(names_), marked_(names_) {}

size_t ToolScanner::calls() const { return std::min(told_, most_); }

// Without those of calls that are more than were asked for.
std::vector<ToolEvent> ToolScanner::within_most(std::vector<ToolEvent> events) const {
  std::erase_if(events, [this](const ToolEvent& e) { return e.kind != ToolEvent::Kind::kText && e.call >= most_; });
  return events;
}

std::vector<ToolEvent> ToolScanner::push(std::string_view text) {
  std::vector<ToolEvent> out;
  if (calls_ == Calls::kNamed) {
    feed_arguments(text, out);
    return out;
  }
  for (const char c : text) feed(c, out);
  if (calls_ == Calls::kEnforced && in_candidate_) tell_calls(false, out);
  return within_most(std::move(out));
}

std::vector<ToolEvent> ToolScanner::finish() {
  std::vector<ToolEvent> out;
  if (in_candidate_) {
    const bool complete = calls_ == Calls::kMarked ? marked_.complete_at_end() : parser_.complete_at_end();
    end_candidate(complete, out);
  }
  if (!space_.empty() && told_ == 0) say(std::exchange(space_, {}), out);
  return within_most(std::move(out));
}

void ToolScanner::feed_arguments(std::string_view text, std::vector<ToolEvent>& out) {
  if (text.empty() || complete_) return;
  if (told_ == 0) {
    out.push_back({ToolEvent::Kind::kCall, 0, names_.front()});
    literal_.begin(held_);
    told_ = 1;
    told_arguments_ = 0;
  }
  for (const char c : text) {
    if (literal_.feed(c) == LiteralToJson::Fed::kMore) continue;
    complete_ = true;
    break;
  }
  if (held_.size() > told_arguments_) out.push_back({ToolEvent::Kind::kArguments, 0, held_.substr(told_arguments_)});
  told_arguments_ = held_.size();
  if (complete_) out.push_back({ToolEvent::Kind::kEnd, 0, {}});
}

void ToolScanner::say(std::string_view text, std::vector<ToolEvent>& out) {
  if (text.empty()) return;
  if (out.empty() || out.back().kind != ToolEvent::Kind::kText) out.push_back({});
  out.back().text += text;
}

// What is new of the calls that have been read; `whole`: all of them are certain.
void ToolScanner::tell_calls(bool whole, std::vector<ToolEvent>& out) {
  const std::vector<CallParser::Call>& all = calls_ == Calls::kMarked ? marked_.calls() : parser_.calls();
  // The one that was told last may have grown.
  size_t next = told_ - told_before_;
  if (next > 0 && told_arguments_ != std::string::npos) --next;
  for (; next < all.size(); ++next) {
    const CallParser::Call& call = all[next];
    if (!whole && !call.begun) return;
    const size_t index = told_before_ + next;
    if (index == told_) {
      out.push_back({ToolEvent::Kind::kCall, index, call.name});
      ++told_;
      told_arguments_ = 0;
    }
    if (call.arguments.size() > told_arguments_) {
      out.push_back({ToolEvent::Kind::kArguments, index, call.arguments.substr(told_arguments_)});
      told_arguments_ = call.arguments.size();
    }
    if (!call.ended) return;
    out.push_back({ToolEvent::Kind::kEnd, index, {}});
    told_arguments_ = std::string::npos;
  }
}

void ToolScanner::end_candidate(bool are_calls, std::vector<ToolEvent>& out) {
  in_candidate_ = false;
  const bool were_told = told_ > told_before_;  // an enforced call that was cut off: its text has been told already
  if (are_calls || were_told) {
    tell_calls(are_calls, out);
    space_.clear();
    only_space_ = begins_line_ = true;
  } else {
    say(std::exchange(space_, {}), out);
    say(held_, out);
    only_space_ = false;
    begins_line_ = held_.ends_with('\n');
  }
  told_before_ = told_;
  told_arguments_ = std::string::npos;
  held_.clear();
}

void ToolScanner::feed(char c, std::vector<ToolEvent>& out) {
  if (in_candidate_) {
    held_ += c;
    const CallParser::Fed fed = calls_ == Calls::kMarked ? marked_.feed(c) : parser_.feed(c);
    if (fed != CallParser::Fed::kMore) end_candidate(fed == CallParser::Fed::kDone, out);
    return;
  }
  // A fence may follow a sentence; a bare list or object is a call at the beginning only, or after another.
  const bool may_begin = calls_ == Calls::kMarked ? c == '<'
                         : calls_ == Calls::kEnforced
                             ? c == '[' && only_space_ && told_ == 0
                             : begins_line_ && CallParser::may_begin(c) && (c == '`' || only_space_);
  if (may_begin) {
    in_candidate_ = true;
    held_ = c;
    const CallParser::Fed fed =
        calls_ == Calls::kMarked ? (marked_.begin(), marked_.feed(c)) : (parser_.begin(), parser_.feed(c));
    if (fed != CallParser::Fed::kMore) end_candidate(fed == CallParser::Fed::kDone, out);
    return;
  }
  if (only_space_ && is_space(c)) {
    space_ += c;
  } else {
    say(std::exchange(space_, {}), out);
    say({&c, 1}, out);
    only_space_ = false;
  }
  if (c == '\n') begins_line_ = true;
  if (!is_space(c)) begins_line_ = false;
}

}  // namespace carat::chat
