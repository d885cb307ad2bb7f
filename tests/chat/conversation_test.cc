// Every prompt must begin with all that was computed before it, in each of the three ways a model can be talked to.
#include "chat/conversation.h"

#include <gtest/gtest.h>

#include "formats/synth_vocabulary.h"

namespace carat::chat {
namespace {

constexpr int32_t kBos = 2, kEndOfTurn = 106;

Tokenizer tokenizer() {
  const SynthVocabulary vocabulary = invented_vocabulary(4096);
  const std::vector<std::string_view> pieces(vocabulary.pieces.begin(), vocabulary.pieces.end());
  const std::vector<uint8_t> types(vocabulary.types.begin(), vocabulary.types.end());
  return std::move(Tokenizer::from_vocabulary(pieces, vocabulary.scores, types).value());
}

PromptFormat format(std::optional<std::string> prompt_template, bool has_chat_template) {
  OpenModel model;
  model.resolved.prompt_template = std::move(prompt_template);
  model.file.has_chat_template = has_chat_template;
  return PromptFormat::of(model, false).value();
}

const PromptFormat kQuestions = format("Question: {{ .Prompt }}\nAnswer:", false);
const PromptFormat kChat = format(std::nullopt, true);
const PromptFormat kPlain = format(std::nullopt, false);

class ConversationTest : public testing::Test {
 protected:
  const Tokenizer tokenizer_ = tokenizer();

  std::string text(const Conversation& conversation) const {
    return tokenizer_.decode(conversation.prompt(), /*with_control=*/true);
  }
  static bool begins_with(const std::vector<int32_t>& ids, const std::vector<int32_t>& beginning) {
    return ids.size() >= beginning.size() && std::equal(beginning.begin(), beginning.end(), ids.begin());
  }
};

TEST_F(ConversationTest, AnAnswersOwnTokensStay) {
  for (const PromptFormat& format : {kQuestions, kChat, kPlain}) {
    Conversation conversation(tokenizer_, format, kBos);
    ASSERT_TRUE(conversation.ask("hello").ok());
    std::vector<int32_t> computed = conversation.prompt();
    EXPECT_EQ(computed.front(), kBos);
    // Letters one at a time, as no tokeniser would cut them.
    std::vector<int32_t> answer;
    for (const char* letter : {"h", "e", "l", "l", "o"}) answer.push_back(tokenizer_.id_of(letter));
    ASSERT_NE(tokenizer_.encode("hello"), answer);
    conversation.answer(answer);
    conversation.close("hello");
    ASSERT_TRUE(conversation.ask("again").ok());
    computed.insert(computed.end(), answer.begin(), answer.end());
    EXPECT_TRUE(begins_with(conversation.prompt(), computed));
  }
}

TEST_F(ConversationTest, ReadsAsTheTemplateHasIt) {
  Conversation chat(tokenizer_, kChat, kBos);
  ASSERT_TRUE(chat.set_system("sys").ok());
  ASSERT_TRUE(chat.ask("one").ok());
  std::vector<int32_t> answer = tokenizer_.encode("two");
  answer.push_back(kEndOfTurn);
  chat.answer(answer);
  chat.close("two");
  ASSERT_TRUE(chat.ask("three").ok());
  EXPECT_EQ(text(chat),
            "<bos><start_of_turn>user\nsys\n\none<end_of_turn>\n<start_of_turn>model\ntwo<end_of_turn>\n"
            "<start_of_turn>user\nthree<end_of_turn>\n<start_of_turn>model\n");

  Conversation questions(tokenizer_, kQuestions, kBos);
  ASSERT_TRUE(questions.ask("one").ok());
  questions.answer(tokenizer_.encode(" two\nQuestion:"));
  questions.close("two");
  ASSERT_TRUE(questions.ask("three").ok());
  EXPECT_EQ(text(questions), "<bos>Question: one\nAnswer: two\nQuestion: three\nAnswer:") << "the stop text is cut off";
}

TEST_F(ConversationTest, AnAbandonedQuestionLeavesNothing) {
  Conversation conversation(tokenizer_, kChat, kBos);
  ASSERT_TRUE(conversation.ask("one").ok());
  conversation.abandon();
  EXPECT_TRUE(conversation.prompt().empty());
  EXPECT_TRUE(conversation.messages().empty());
}

TEST_F(ConversationTest, DroppingKeepsTheSystemTextAndTheLastTurn) {
  Conversation conversation(tokenizer_, kChat, kBos);
  ASSERT_TRUE(conversation.set_system("sys").ok());
  for (const char* question : {"one", "two", "three"}) {
    ASSERT_TRUE(conversation.ask(question).ok());
    conversation.answer(tokenizer_.encode("yes"));
    conversation.close("yes");
  }
  const size_t before = conversation.prompt().size();
  const auto dropped = conversation.drop_oldest(1);
  ASSERT_TRUE(dropped.ok());
  EXPECT_EQ(dropped->turns, 2U);
  EXPECT_EQ(dropped->tokens, before - conversation.prompt().size());
  EXPECT_EQ(text(conversation),
            "<bos><start_of_turn>user\nsys\n\nthree<end_of_turn>\n<start_of_turn>model\nyes<end_of_turn>\n");
}

TEST_F(ConversationTest, ASavedConversationComesBack) {
  const std::vector<ManifestMessage> messages{{"user", "one"}, {"assistant", "two"}};
  Conversation conversation(tokenizer_, kQuestions, kBos);
  ASSERT_TRUE(conversation.restore(messages).ok());
  EXPECT_EQ(text(conversation), "<bos>Question: one\nAnswer: two\n");
  ASSERT_EQ(conversation.messages().size(), 2U);
  EXPECT_EQ(conversation.messages()[1].content, "two");
  EXPECT_FALSE(conversation.restore({{"assistant", "two"}}).ok());
}

TEST_F(ConversationTest, PlainCompletionHasNoPlaceForASystemText) {
  Conversation conversation(tokenizer_, kPlain, kBos);
  ASSERT_TRUE(conversation.set_system("sys").ok());
  EXPECT_FALSE(conversation.ask("one").ok());
  EXPECT_TRUE(conversation.prompt().empty());
}

}  // namespace
}  // namespace carat::chat
