#include "chat/prompt_format.h"

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
  for (const char* text : {"{{ if .System }}x{{ end }}", "{{ .Messages }}", "{{ .Prompt", "{{"}) {
    const auto format = PromptFormat::of(model_with(text), false);
    ASSERT_FALSE(format.ok()) << text;
    EXPECT_EQ(format.error().code, ErrorCode::kUnsupported);
  }
}

}  // namespace
}  // namespace carat::chat
