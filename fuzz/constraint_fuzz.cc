// Grammars of every kind, and what a model says to a call scanner: the first byte chooses. Whatever compiles must let an answer go on or
// end; a mask never allows what accept() then calls wrong.
#include <string_view>
#include <vector>

#include "chat/tool_scanner.h"
#include "engine/constraint.h"
#include "fuzz.h"

namespace {

using namespace carat;

void demand(bool condition) {
  if (!condition) __builtin_trap();
}

constexpr int32_t kEnd = 256;

Grammars& grammars() {
  static const std::shared_ptr<Grammars> made = [] {
    std::string bytes;
    for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
    std::vector<std::string_view> texts;
    for (size_t byte = 0; byte < 256; ++byte) texts.push_back(std::string_view(bytes).substr(byte, 1));
    texts.emplace_back();
    const std::vector<int32_t> ends = {kEnd};
    // A sanitizer is slow, and the time is not what is looked for here.
    return *Grammars::create({texts, ends, nullptr}, {.compile_ms = 5000});
  }();
  return *made;
}

void constrain(GrammarKind kind, std::string_view text) {
  Result<Constraint> started = grammars().start(kind, text);
  if (!started) return;
  uint32_t random = static_cast<uint32_t>(text.size());
  for (int step = 0; step < 40; ++step) {
    std::vector<uint32_t> bits(9);
    if (!started->mask(bits).ok()) return;
    std::vector<int32_t> may;
    for (int32_t id = 0; id <= kEnd; ++id) {
      if ((bits[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) may.push_back(id);
    }
    demand(!may.empty());
    random = random * 1664525u + 1013904223u;
    const int32_t next = may[(random >> 8) % may.size()];
    if (const Status taken = started->accept(next); !taken.ok()) {  // it may grow beyond the library's limits
      demand(taken.error().message.find("does not fit") == std::string::npos);
      return;
    }
    if (next == kEnd) return;
  }
}

void scan(std::string_view text, chat::ToolScanner::Calls calls) {
  const auto all = [&](size_t part) {
    chat::ToolScanner scanner({"f", "now"}, calls);
    std::string told;
    const auto take = [&](const std::vector<chat::ToolEvent>& events) {
      for (const chat::ToolEvent& event : events) told += event.text;
    };
    for (size_t at = 0; at < text.size(); at += part) take(scanner.push(text.substr(at, part)));
    take(scanner.finish());
    if (scanner.calls() == 0 && calls == chat::ToolScanner::Calls::kMayCome) demand(told == text);
    return told;
  };
  // Where a grammar enforces calls they are told before they are complete: what follows cannot be wrong there, and here it is.
  const bool same = all(1) == all(text.size() + 1);
  demand(same || calls == chat::ToolScanner::Calls::kEnforced);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 10 < 6) {
    if (can_constrain()) constrain(static_cast<GrammarKind>(data[0] % 10), text);
  } else {
    scan(text, static_cast<chat::ToolScanner::Calls>(data[0] % 10 - 6));
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {
      std::string(1, '\0') +
          R"({"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"enum":[1,"x"]}},"required":["a"]})",
      std::string(1, '\0') +
          R"({"type":"array","items":{"type":"string","pattern":"^a{1,9}$"},"minItems":1,"x-guidance":{"whitespace_flexible":false}})",
      "\x01(a*)*b|[^x]{2,3}\\d+",
      "\x02start: \"a\" b* | /[x-z]+/\nb: \"(\" b \")\" | \"c\"\n",
      "\x03root ::= \"a\" item{2,3} [a-z]+ # words\nitem ::= [^\\x41\"] | \".\"\n",
      "\x04{\"type\":\"array\",\"items\":{\"const\":1}}",
      ("\x05{\"format\":{\"type\":\"triggered_tags\",\"triggers\":[\"<f\"],\"tags\":[{\"begin\":\"<f>\",\"content\":{"
       "\"type\":\"any_text\"},\"end\":\"</f>\"}]}}"),
      ("\x05{\"structures\":[{\"begin\":\"<f>\",\"schema\":{\"type\":\"integer\"},\"end\":\"</"
       "f>\"}],\"triggers\":[\"<f\"]}"),
      "\x06[f(a='x\\n', b={\"c\": [1, True, None]}), now()]",
      "\x06Well.\n```tool_code\nprint(f(a=\"\"\"x\"\"\"))\n```\n",
      "\x07[{\"name\": \"f\", \"parameters\": {\"a\": 1}}]",
      "\x08{\"a\": \"b\"}",
      "\x09<start_function_call>call:f{a:<escape>x<escape>,b:[1,2]}<end_function_call>",
  };
}
