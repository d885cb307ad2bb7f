// The chat template against what Hugging Face renders, and what it refuses.
#include "tokenizer/chat_template.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "tokenizer/gemma_vocabulary.h"
#include "tokenizer/small_vocabulary.h"

namespace carat {
namespace {

std::vector<ChatMessage> messages_of(const nlohmann::json& json) {
  std::vector<ChatMessage> messages;
  for (const auto& message : json) {
    if (message["content"].is_string()) {
      messages.push_back(ChatMessage::of_text(message["role"], message["content"]));
      continue;
    }
    ChatMessage& made = messages.emplace_back(ChatMessage{message["role"], {}});
    for (const auto& part : message["content"]) {
      if (part["type"] == "image") {
        made.parts.push_back({ChatPart::Kind::kImage, {}});
      } else {
        made.parts.push_back({ChatPart::Kind::kText, part["text"]});
      }
    }
  }
  return messages;
}

TEST(ChatTemplate, EqualsHuggingFace) {
  const auto cases = nlohmann::json::parse(read_text(golden_file("chat.json")));
  ASSERT_EQ(cases.size(), 20U);
  int errors = 0;
  int injections = 0;
  for (const auto& c : cases) {
    const auto messages = messages_of(c["messages"]);
    const bool prompt = c["add_generation_prompt"];
    const auto text = render_chat(messages, prompt);
    const auto ids = encode_chat(gemma_tokenizer(), messages, prompt);
    if (c.contains("error") && !c["error"].is_null()) {
      ++errors;
      ASSERT_FALSE(text.ok());
      EXPECT_EQ(text.error().message, c["error"]);
      EXPECT_EQ(text.error().code, ErrorCode::kInvalidArgument);
      ASSERT_FALSE(ids.ok());
      EXPECT_EQ(ids.error().message, c["error"]);
      continue;
    }
    ASSERT_TRUE(text.ok()) << text.error().message;
    EXPECT_EQ(*text, c["text"]);
    EXPECT_EQ(gemma_tokenizer().encode_with_control(*text), c["ids"].get<std::vector<int32_t>>());
    ASSERT_TRUE(ids.ok());
    if (c["messages"].dump().find("injected") == std::string::npos) {
      EXPECT_EQ(*ids, c["ids"].get<std::vector<int32_t>>()) << *text;
    } else {  // here Hugging Face takes the user's markers for real ones
      ++injections;
      EXPECT_NE(*ids, c["ids"].get<std::vector<int32_t>>());
    }
  }
  EXPECT_EQ(errors, 4);
  EXPECT_EQ(injections, 2);
}

TEST(ChatTemplate, TokensFormAcrossTheBordersOfTurns) {
  // The image expansion and hand-written turns begin with newlines: "user\n" and "\n\nhi" share one token of three.
  const std::vector<TextSpan> spans{{"<start_of_turn>user\n", true}, {"\n\nhi", false}, {"<end_of_turn>\n", true}};
  EXPECT_EQ(gemma_tokenizer().encode(spans),
            gemma_tokenizer().encode_with_control("<start_of_turn>user\n\n\nhi<end_of_turn>\n"));
}

std::string error_of(const std::vector<ChatMessage>& messages) {
  const auto text = render_chat(messages, true);
  return text.ok() ? "" : text.error().message;
}

TEST(ChatTemplate, Refuses) {
  const auto say = [](std::string role) { return ChatMessage::of_text(std::move(role), "x"); };
  EXPECT_EQ(error_of({}), "messages: expected at least one");
  EXPECT_EQ(error_of({say("user"), say("tool")}), "messages[1].role: expected \"system\", \"user\" or \"assistant\"");
  EXPECT_EQ(error_of({say("user"), say("system")}), "messages[1].role: \"system\" may only be the first message");
  EXPECT_EQ(error_of({say("system"), say("assistant")}),
            "Conversation roles must alternate user/assistant/user/assistant/...");
  EXPECT_EQ(error_of({say("user"), say("model"), say("user")}), "");
}

TEST(ChatTemplate, SystemTextKeepsItsWhitespaceAndTurnsLoseTheirs) {
  const auto text =
      render_chat({ChatMessage::of_text("system", " s "), ChatMessage::of_text("user", "\n u \t")}, false);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "<bos><start_of_turn>user\n s \n\nu<end_of_turn>\n");
}

TEST(ChatTemplate, StripsWhatPythonStrips) {
  EXPECT_EQ(strip_whitespace(" \t\n\v\f\r\x1C\x1D\x1E\x1F\u0085\u00A0\u1680\u2000\u200A\u2028\u2029\u202F\u205F\u3000"),
            "");
  EXPECT_EQ(strip_whitespace("\u3000a \u00A0b\u2003"), "a \u00A0b");
  EXPECT_EQ(strip_whitespace("\u200B\uFEFF"), "\u200B\uFEFF");  // no whitespace to Python
  EXPECT_EQ(strip_whitespace(" \xA0 "), "\xA0");                // not UTF-8
  EXPECT_EQ(strip_whitespace(""), "");
}

TEST(ChatTemplate, ChatMLSaysEveryMessageAsItIs) {
  ChatStyle style;
  style.turns = ChatStyle::Turns::kChatML;
  style.begins_with_bos = false;
  const std::vector<ChatMessage> messages{ChatMessage::of_text("system", "S"), ChatMessage::of_text("user", " U "),
                                          ChatMessage::of_text("assistant", "A"), ChatMessage::of_text("user", "V")};
  EXPECT_EQ(*render_chat(messages, true, style),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n U <|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
            "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n");
  style.default_system = std::string("D");
  style.begins_with_bos = true;
  EXPECT_EQ(*render_chat({ChatMessage::of_text("user", "U")}, true, style),
            "<bos><|im_start|>system\nD<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render_chat({ChatMessage::of_text("tool", "U")}, true, style).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(stop_texts(style), (std::vector<std::string>{"<|im_end|>"}));
  EXPECT_TRUE(stop_texts({}).empty());
}

TEST(ChatTemplate, FunctionGemmasTurnGoesOnBehindAResult) {
  using Kind = ChatPart::Kind;
  ChatStyle style;
  style.turns = ChatStyle::Turns::kFunctionGemma;
  std::vector<ChatMessage> messages{ChatMessage::of_text("system", " S "),
                                    ChatMessage::of_text("user", " U "),
                                    {"assistant",
                                     {{Kind::kMark, "<start_function_call>"},
                                      {Kind::kText, "call:f{} "},
                                      {Kind::kMark, "<end_function_call><start_function_response>"},
                                      {Kind::kText, "response:f{}"},
                                      {Kind::kMark, "<end_function_response>"}}}};
  const std::string so_far =
      "<bos><start_of_turn>developer\nS<end_of_turn>\n<start_of_turn>user\nU<end_of_turn>\n<start_of_turn>model\n"
      "<start_function_call>call:f{} <end_function_call><start_function_response>response:f{}<end_function_response>";
  EXPECT_EQ(*render_chat(messages, true, style), so_far);
  const auto spans = *render_chat_spans(messages, true, style);
  EXPECT_FALSE(spans[spans.size() - 2].may_be_control);
  EXPECT_EQ(spans[spans.size() - 2].text, "response:f{}");
  messages.push_back(ChatMessage::of_text("user", "V"));
  EXPECT_EQ(*render_chat(messages, true, style),
            so_far + "<end_of_turn>\n<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n");
  messages[1].parts[0].kind = Kind::kImage;
  EXPECT_EQ(render_chat(messages, true, style).error().code, ErrorCode::kInvalidArgument);
}

TEST(ChatTemplate, FunctionGemmasMarksAreSaidAndCannotBeTyped) {
  SmallVocabulary vocabulary;
  const int32_t mark = vocabulary.add("<start_function_call>", PieceType::kControl);
  const int32_t escape = vocabulary.add("<escape>", PieceType::kControl);
  const int32_t other = vocabulary.add("<start_of_image>", PieceType::kControl);
  const auto tokenizer = tokenizer_of(vocabulary.list);
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{mark, escape, other}), "<start_function_call><escape>");
  EXPECT_EQ(tokenizer->encode("<escape>").size(), 8U) << "bytes";
}

TEST(ChatTemplate, StylesOfGemma) {
  ChatStyle ollama;
  ollama.system_is_a_turn = true;
  const std::vector<ChatMessage> messages{ChatMessage::of_text("system", "S"), ChatMessage::of_text("user", "U")};
  EXPECT_EQ(*render_chat(messages, true, ollama),
            "<bos><start_of_turn>user\nS<end_of_turn>\n<start_of_turn>user\nU<end_of_turn>\n<start_of_turn>model\n");
  ChatStyle second;
  second.takes_system = false;
  EXPECT_EQ(render_chat(messages, true, second).error().message, "System role not supported");
}

TEST(ChatTemplate, AVocabularyWithoutTurnsIsRefused) {
  const auto tokenizer = tokenizer_of(SmallVocabulary().list);
  ASSERT_TRUE(tokenizer.ok());
  const auto ids = encode_chat(*tokenizer, {ChatMessage::of_text("user", "U")}, true);
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(ids.error().message.find("<start_of_turn>"), std::string::npos);
}

}  // namespace
}  // namespace carat
