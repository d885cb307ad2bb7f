#include "chat/prompt_format.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace carat::chat {
namespace {

OpenModel model_with(std::optional<std::string> prompt_template, bool has_chat_template = false) {
  OpenModel model;
  model.resolved.prompt_template = std::move(prompt_template);
  model.file.has_chat_template = has_chat_template;
  return model;
}

std::vector<ChatMessage> conversation(const std::vector<std::pair<std::string, std::string>>& turns) {
  std::vector<ChatMessage> messages;
  for (const auto& [role, text] : turns) messages.push_back(ChatMessage::of_text(role, text));
  return messages;
}

constexpr const char* kQuestionAnswer = "Question: {{ .Prompt }}\nAnswer:";

TEST(PromptFormat, KindFollowsTheModel) {
  EXPECT_EQ(PromptFormat::of(model_with(std::nullopt), false)->kind(), PromptFormat::Kind::kPlain);
  EXPECT_EQ(PromptFormat::of(model_with(std::nullopt, true), false)->kind(), PromptFormat::Kind::kChat);
  EXPECT_EQ(PromptFormat::of(model_with(kQuestionAnswer), false)->kind(), PromptFormat::Kind::kTemplate);
  EXPECT_EQ(PromptFormat::of(model_with(kQuestionAnswer, true), true)->kind(), PromptFormat::Kind::kPlain);
}

TEST(PromptFormat, OnlyATemplatesAnswersLoseTheirLeadingSpace) {
  EXPECT_TRUE(PromptFormat::of(model_with(kQuestionAnswer), false)->trims_leading_space());
  EXPECT_FALSE(PromptFormat::of(model_with(kQuestionAnswer), true)->trims_leading_space());
  EXPECT_FALSE(PromptFormat::of(model_with(std::nullopt, true), false)->trims_leading_space());
}

TEST(PromptFormat, FillsTheTemplate) {
  const PromptFormat format = PromptFormat::of(model_with(kQuestionAnswer), false).value();
  EXPECT_EQ(format.render_text(conversation({{"user", "What is {{ .System }}?"}})).value(),
            "Question: What is {{ .System }}?\nAnswer:");
}

TEST(PromptFormat, EarlierTurnsStandAsTheModelWroteThem) {
  const PromptFormat format = PromptFormat::of(model_with(kQuestionAnswer), false).value();
  EXPECT_EQ(format.render_text(conversation({{"user", "A?"}, {"assistant", "B"}, {"user", "C?"}})).value(),
            "Question: A?\nAnswer: B\nQuestion: C?\nAnswer:");
}

TEST(PromptFormat, SystemTextGoesWhereTheTemplateSaysElseFirst) {
  const auto turns = conversation({{"system", "Be brief."}, {"user", "A?"}});
  EXPECT_EQ(PromptFormat::of(model_with("[{{.System}}] {{.Prompt}}"), false)->render_text(turns).value(),
            "[Be brief.] A?");
  EXPECT_EQ(PromptFormat::of(model_with(kQuestionAnswer), false)->render_text(turns).value(),
            "Be brief.\n\nQuestion: A?\nAnswer:");
  EXPECT_FALSE(PromptFormat::of(model_with(std::nullopt), false)->render_text(turns).ok());
}

TEST(PromptFormat, TemplatesThatNeedMoreAreRefused) {
  for (const char* text : {"{{ if .System }}x{{ end }}", "{{ .Messages }}", "{{ .Prompt", "{{", "no place for a prompt",
                           "two\nlines {{ if }}"}) {
    const auto format = PromptFormat::of(model_with(text), false);
    ASSERT_FALSE(format.ok()) << text;
    EXPECT_EQ(format.error().code, ErrorCode::kUnsupported);
    EXPECT_EQ(format.error().message.find('\n'), std::string::npos) << "one line, whatever it is about";
    EXPECT_NE(format.error().message.find("--raw"), std::string::npos);
  }
}

constexpr const char* kChatML =
    "{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

TEST(PromptFormat, TheFilesTemplateIsObeyedOrRefused) {
  OpenModel model = model_with(std::nullopt, true);
  model.file.chat_template = kChatML;
  const auto format = PromptFormat::of(model, false);
  ASSERT_TRUE(format.ok()) << format.error().message;
  EXPECT_EQ(format->kind(), PromptFormat::Kind::kChat);
  EXPECT_EQ(format->closing(), "<|im_end|>\n");
  EXPECT_EQ((*known_template_of(model))->name, "ChatML");
  model.file.chat_template = "{{ messages }} {{ tools }}";
  EXPECT_EQ(PromptFormat::of(model, false).error().code, ErrorCode::kUnsupported);
  EXPECT_TRUE(PromptFormat::of(model, true).ok());
  EXPECT_EQ(PromptFormat::of(model, false, "gemma")->closing(), "<end_of_turn>\n");
  EXPECT_EQ(PromptFormat::of(model, false, "chatml")->closing(), "<|im_end|>\n");
  EXPECT_EQ(PromptFormat::of(model, false, "Q: {{ .Prompt }}")->kind(), PromptFormat::Kind::kTemplate);
  for (const char* wrong : {"", "gemma2", "Q:", "{{ .Messages }}"}) {
    EXPECT_EQ(PromptFormat::of(model, false, wrong).error().code, ErrorCode::kInvalidArgument) << wrong;
  }
}

TEST(PromptFormat, ATextBeginsWithBosOnlyWhereTheFileSaysSo) {
  OpenModel model = model_with(std::nullopt);
  const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (int byte = 0; byte < 256; ++byte) all.push_back(fmt::format("<0x{:02X}>", byte));
    return all;
  }();
  const std::vector<std::string_view> pieces(names.begin(), names.end());
  const auto tokenizer = Tokenizer::from_vocabulary(pieces, std::vector<float>(256), std::vector<uint8_t>(256, 6));
  ASSERT_TRUE(tokenizer.ok());
  const auto ids = [&](bool first) {
    return *PromptFormat::of(model, true)->encode(*tokenizer, 2, conversation({{"user", "a"}}), first);
  };
  EXPECT_EQ(ids(true), (std::vector<int32_t>{2, 'a'}));
  EXPECT_EQ(ids(false), (std::vector<int32_t>{'a'}));
  model.file.config.adds_bos = false;
  EXPECT_EQ(ids(true), (std::vector<int32_t>{'a'}));
}

}  // namespace
}  // namespace carat::chat
