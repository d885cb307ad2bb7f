// Calls as Gemma 3 writes them, and what only looks like one: however the text arrives, the same is told.
#include "chat/tool_scanner.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "chat/tool_turns.h"

namespace carat::chat {
namespace {

using Calls = ToolScanner::Calls;

// "said|name{arguments}|said": texts in a row are one, a call is complete or ends in "...".
std::string told(std::string_view text, Calls calls, const std::vector<size_t>& cuts) {
  ToolScanner scanner({"get_weather", "now", "a-b"}, calls);
  std::vector<ToolEvent> events;
  size_t begin = 0;
  const auto take = [&](std::vector<ToolEvent> more) { events.insert(events.end(), more.begin(), more.end()); };
  for (const size_t cut : cuts) {
    take(scanner.push(text.substr(begin, cut - begin)));
    begin = cut;
  }
  take(scanner.push(text.substr(begin)));
  take(scanner.finish());
  std::string out;
  ToolEvent::Kind last = ToolEvent::Kind::kEnd;
  size_t number = 0;
  bool open = false;
  for (const ToolEvent& event : events) {
    if (event.kind == ToolEvent::Kind::kText) {
      if (last != ToolEvent::Kind::kText && !out.empty()) out += "|";
      out += event.text;
    } else if (event.kind == ToolEvent::Kind::kCall) {
      EXPECT_EQ(event.call, number++);
      EXPECT_FALSE(open);
      open = true;
      if (!out.empty()) out += "|";
      out += event.text;
    } else if (event.kind == ToolEvent::Kind::kArguments) {
      EXPECT_TRUE(open);
      out += event.text;
    } else {
      open = false;
    }
    last = event.kind;
  }
  EXPECT_EQ(scanner.calls(), number);
  return open ? out + "..." : out;
}

std::string scan(std::string_view text, Calls calls = Calls::kMayCome) {
  const std::string whole = told(text, calls, {});
  std::vector<size_t> every;
  for (size_t i = 1; i < text.size(); ++i) every.push_back(i);
  EXPECT_EQ(told(text, calls, every), whole) << text;
  std::mt19937 random(1);  // NOLINT: the same cuts each time
  for (int round = 0; round < 20; ++round) {
    std::vector<size_t> cuts;
    for (size_t i = 1; i < text.size(); ++i) {
      if (random() % 4 == 0) cuts.push_back(i);
    }
    EXPECT_EQ(told(text, calls, cuts), whole) << text;
  }
  return whole;
}

TEST(ToolScanner, APythonListIsCalls) {
  EXPECT_EQ(scan("[get_weather(city=\"Oslo\")]"), "get_weather{\"city\": \"Oslo\"}");
  EXPECT_EQ(scan("  [get_weather(city='Oslo', days=3), now()]\n"),
            "get_weather{\"city\": \"Oslo\", \"days\": 3}|now{}");
  EXPECT_EQ(scan("[now(), now()]"), "now{}|now{}");
  EXPECT_EQ(scan("[a-b(x=1)]"), "a-b{\"x\": 1}");
  EXPECT_EQ(scan("[get_weather(at={'a': [1, -2.5e3, True, None], \"b\": {}}, l=[])]"),
            R"(get_weather{"at": {"a": [1, -2.5e3, true, null], "b": {}}, "l": []})");
  EXPECT_EQ(scan("[get_weather( city = \"Oslo\" ,\n days = 2 )]"), "get_weather{\"city\": \"Oslo\", \"days\": 2}");
}

TEST(ToolScanner, TextsKeepWhatTheyHold) {
  EXPECT_EQ(scan(R"([get_weather(city='L\'A "q" \\ \n é\x41\u00e9\U0001F600\d')])"),
            "get_weather{\"city\": \"L'A \\\"q\\\" \\\\ \\n éAé😀\\\\d\"}");
  EXPECT_EQ(scan("[get_weather(city='''it's ''two''\nlines''', b='', c=\"\"\"x\"\"\")]"),
            "get_weather{\"city\": \"it's ''two''\\nlines\", \"b\": \"\", \"c\": \"x\"}");
  EXPECT_EQ(scan("[get_weather(city=\"\\ud83d\\ude00\")]"), "get_weather{\"city\": \"\\ud83d\\ude00\"}");
  EXPECT_EQ(scan("[get_weather(city=\")]\")]"), "get_weather{\"city\": \")]\"}");
}

TEST(ToolScanner, AFenceHoldsCalls) {
  EXPECT_EQ(scan("```tool_code\nget_weather(city=\"Oslo\")\n```"), "get_weather{\"city\": \"Oslo\"}");
  EXPECT_EQ(scan("```tool_code\nprint(default_api.get_weather(city=\"Oslo\"))\nnow()\n```\n"),
            "get_weather{\"city\": \"Oslo\"}|now{}");
  EXPECT_EQ(scan("```tool_code\n[get_weather(city=\"Oslo\"), now()]\n```"), "get_weather{\"city\": \"Oslo\"}|now{}");
  EXPECT_EQ(scan("```tool_code\nnow()"), "now{}") << "the answer ended before the fence did";
  EXPECT_EQ(scan("Let me look.\n```tool_code\nnow()\n```"), "Let me look.\n|now{}");
  EXPECT_EQ(scan("```json\n{\"name\": \"now\", \"parameters\": {}}\n```"), "now{}");
  EXPECT_EQ(scan("```\n[now()]\n```"), "now{}");
}

TEST(ToolScanner, JsonIsCalls) {
  EXPECT_EQ(scan("{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\"}}"),
            "get_weather{\"city\": \"Oslo\"}");
  EXPECT_EQ(scan("{\"arguments\":{\"days\":1},\"name\":\"get_weather\"}"), "get_weather{\"days\": 1}");
  EXPECT_EQ(
      scan("[{\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}, {\"name\": \"now\", \"arguments\": {}}]"),
      "now{}|now{}");
}

TEST(ToolScanner, WhatIsNoCallStaysText) {
  for (const char* text : {"Hello.",
                           "",
                           "  \n ",
                           "[1, 2, 3]",
                           "[]",
                           "[unknown(city=\"Oslo\")]",
                           "[get_weather(\"Oslo\")]",
                           "[get_weather(city=Oslo)]",
                           "[get_weather(city=\"Oslo\"]",
                           "[get_weather(city=\"Oslo\")",
                           "[now()] or not",
                           "now()",
                           "Use [now()] for that",
                           "see\n[now()]",
                           "```python\nprint(1)\n```",
                           "```tool_code\nx = now()\n```",
                           "```tool_code\nnow() + 1\n```",
                           "```tool_code\nnow(",
                           "{\"name\": \"now\"}",
                           "{\"name\": \"Ada\", \"parameters\": {}}",
                           "{\"name\": \"now\", \"parameters\": {}, \"x\": 1}",
                           "{\"name\": \"now\", \"parameters\": []}",
                           "[get_weather(city=\"a\", city=\"b\")]",
                           "[get_weather(days=01)]",
                           "[get_weather(days=1.)]",
                           "[get_weather(x=[1,])]",
                           "`now()`",
                           "``` tool_code now() ```",
                           "[now(),]",
                           "[now(), ",
                           "```tool_code\n```",
                           "[[now()]]",
                           "[get_weather(city=\"Oslo\") now()]"}) {
    if (std::string_view(text) == "[now()] or not") {
      EXPECT_EQ(scan(text), "now{}| or not");
    } else {
      EXPECT_EQ(scan(text), text);
    }
  }
}

TEST(ToolScanner, CallsFollowCalls) {
  EXPECT_EQ(scan("[now()]\n[get_weather(city=\"Oslo\")]"), "now{}|get_weather{\"city\": \"Oslo\"}");
  EXPECT_EQ(scan("[now()]\nThat is all."), "now{}|\nThat is all.");
  EXPECT_EQ(scan("```tool_code\nnow()\n```\n```tool_code\nnow()\n```"), "now{}|now{}");
}

TEST(ToolScanner, EnforcedCallsStream) {
  const std::string text =
      "[{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\"}}, {\"name\": \"now\", \"parameters\": {}}]";
  EXPECT_EQ(scan(text, Calls::kEnforced), "get_weather{\"city\": \"Oslo\"}|now{}");
  EXPECT_EQ(scan(text.substr(0, text.find("lo\"")), Calls::kEnforced), "get_weather{\"city\": \"Os...")
      << "cut off: what there is";
  EXPECT_EQ(scan(text.substr(0, 20), Calls::kEnforced), text.substr(0, 20)) << "which call is not known yet";
  EXPECT_EQ(scan("Hi [now()]", Calls::kEnforced), "Hi [now()]");
  ToolScanner scanner({"get_weather"}, Calls::kEnforced);
  EXPECT_TRUE(scanner.push("[{\"name\": \"get_weather\", \"parameters\": ").empty());
  const auto begun = scanner.push("{\"city\": \"O");
  ASSERT_EQ(begun.size(), 2U);
  EXPECT_EQ(begun[0].text, "get_weather");
  EXPECT_EQ(begun[1].text, "{\"city\": \"O");
  const auto more = scanner.push("slo\"}}]");
  ASSERT_EQ(more.size(), 2U);
  EXPECT_EQ(more[0].text, "slo\"}");
  EXPECT_EQ(more[1].kind, ToolEvent::Kind::kEnd);
}

TEST(ToolScanner, ArgumentsOfAFunctionThatWasNamed) {
  EXPECT_EQ(scan("{\"city\": \"Oslo\"}", Calls::kNamed), "get_weather{\"city\": \"Oslo\"}");
  EXPECT_EQ(scan("{\"city\": \"Os", Calls::kNamed), "get_weather{\"city\": \"Os...");
  EXPECT_EQ(scan("", Calls::kNamed), "");
}

TEST(ToolScanner, FunctionGemmasMarks) {
  EXPECT_EQ(scan("<start_function_call>call:get_weather{city:<escape>L'\"A<\nquila<escape>,days:[1,2],at:{x:true}}<end_"
                 "function_call>",
                 Calls::kMarked),
            "get_weather{\"city\": \"L'\\\"A<\\u000aquila\", \"days\": [1, 2], \"at\": {\"x\": true}}");
  EXPECT_EQ(scan("<start_function_call>call:now{}<end_function_call><start_function_call>call:now{}<end_function_call>",
                 Calls::kMarked),
            "now{}|now{}");
  for (const char* text : {"a < b", "<start_function_call>call:nobody{}<end_function_call>",
                           "<start_function_call>call:now{x:01}<end_function_call>", "<start_function_call>call:now{",
                           "<start_function_call>call:now{x:<escape>"})
    EXPECT_EQ(scan(text, Calls::kMarked), text);
}

TEST(ToolScanner, NoMoreCallsThanWereAskedFor) {
  for (const size_t part : {1U, 100U}) {
    ToolScanner scanner({"get_weather", "now"}, Calls::kMayCome, 1);
    const std::string_view text = "[now(), get_weather(city='Oslo'), now()]";
    std::string told;
    const auto take = [&](const std::vector<ToolEvent>& events) {
      for (const ToolEvent& event : events) told += event.text;
    };
    for (size_t at = 0; at < text.size(); at += part) take(scanner.push(text.substr(at, part)));
    take(scanner.finish());
    EXPECT_EQ(told, "now{}");
    EXPECT_EQ(scanner.calls(), 1U);
  }
}

// A megabyte of what goes back the farthest: were anything read again for each character, this would take hours.
TEST(ToolScanner, TimeIsLinear) {
  const auto began = std::chrono::steady_clock::now();
  for (const std::string& unit :
       {std::string("```tool_code\n[get_weather(city='"), std::string("[get_weather(city='x\n"),
        std::string("[{\"name\": \""), std::string("[now(), "), std::string("[get_weather(a={\"b\":["),
        std::string("{"), std::string("`\n")}) {
    std::string text;
    while (text.size() < (1U << 20)) text += unit;
    ToolScanner scanner({"get_weather", "now"}, Calls::kMayCome);
    std::string said;
    const auto take = [&](const std::vector<ToolEvent>& events) {
      for (const ToolEvent& event : events) said += event.text;
    };
    for (size_t i = 0; i < text.size(); i += 3) take(scanner.push(std::string_view(text).substr(i, 3)));
    take(scanner.finish());
    EXPECT_EQ(said, text);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
}

TEST(ToolTurns, CallsAndResultsAreTurns) {
  ChatMessage called = ChatMessage::of_text("assistant", "");
  called.tool_calls.push_back({"1", "get_weather", {{"city", "\"Oslo\""}, {"days", "2"}}});
  called.tool_calls.push_back({"2", "now", {}});
  const auto turns =
      with_tool_turns({ChatMessage::of_text("user", "Weather?"), called, ChatMessage::of_text("tool", "sunny"),
                       ChatMessage::of_text("tool", "12:00"), ChatMessage::of_text("user", "And?")},
                      {"[...]", Tools::Form::kPython});
  ASSERT_EQ(turns.size(), 4U);
  EXPECT_EQ(turns[0].role, "system");
  EXPECT_EQ(turns[0].parts[0].text.substr(0, 31), "Tools (functions) are available");
  EXPECT_TRUE(turns[0].parts[0].text.ends_with("that you can invoke.\n[...]"));
  EXPECT_EQ(turns[2].parts[0].text, "[get_weather(city=\"Oslo\", days=2), now()]");
  EXPECT_EQ(turns[3].role, "user");
  EXPECT_EQ(turns[3].parts[0].text,
            "<tool_response>\nsunny</tool_response>\n<tool_response>\n12:00</tool_response>\nAnd?");
}

TEST(ToolTurns, NothingChangesWithoutTools) {
  const auto turns = with_tool_turns({ChatMessage::of_text("system", "Be brief."), ChatMessage::of_text("user", "Hi"),
                                      ChatMessage::of_text("user", "there")},
                                     {});
  ASSERT_EQ(turns.size(), 3U) << "roles that do not alternate are the template's business";
  EXPECT_EQ(turns[0].parts[0].text, "Be brief.");
}

}  // namespace
}  // namespace carat::chat
