// Conversations: what the KV cache saves, what Ctrl-C leaves, what a full context drops, what is saved and loaded.
#include <gtest/gtest.h>

#include <regex>

#include "cli/repl/fixture.h"

namespace carat {
namespace {

using testing::Test;

class ReplSession : public test::ReplTest {
 protected:
  int prompt_count(const std::string& reply) {
    std::smatch match;
    EXPECT_TRUE(std::regex_search(reply, match, std::regex("prompt eval count: +([0-9]+) token"))) << reply;
    return match.empty() ? -1 : std::stoi(match[1]);
  }
  static Manifest manifest(const std::string& name) {
    return Store(home()).find(ModelName::parse(name).value()).value().manifest;
  }
};

TEST_F(ReplSession, ABaseModelIsCalledOneOnTheFirstLine) {
  EXPECT_EQ(start({"tiny"}).rfind("tiny is a base model", 0), 0U);
  leave();
}

TEST_F(ReplSession, ATurnComputesOnlyWhatIsNew) {
  start({"qa", "--verbose", "--temp", "0", "-n", "12"});
  std::string message;
  for (int i = 0; i < 40; ++i) message += "word ";
  const int first = prompt_count(reply(message));
  EXPECT_GT(first, 40);
  for (int turn = 0; turn < 3; ++turn) EXPECT_LT(prompt_count(reply("word")), first / 2) << "turn " << turn;
  EXPECT_EQ(reply("/clear"), "Cleared session context\n");
  leave();
}

TEST_F(ReplSession, ControlCStopsTheAnswerAndKeepsTheSession) {
  // The naive backend is slow enough to be interrupted with certainty.
  start({"tiny", "--backend", "reference", "--ignore-eos", "-n", "1000", "--temp", "0"});
  terminal_->type("word\r");
  terminal_->read_to("word\r\n");
  terminal_->wait_for_signals();
  terminal_->type("\x03");
  terminal_->read_to(test::kPlaceholder);
  EXPECT_EQ(reply("/wibble"), "Unknown command '/wibble'. Type /? for help\n");
  leave();
}

TEST_F(ReplSession, AFullContextDropsTheOldestTurnsAndSaysSo) {
  start({"qa", "--temp", "0", "--ignore-eos", "-n", "8", "--stop", "never"}, {}, 200);
  EXPECT_EQ(reply("/set parameter num_ctx 96"), "Set parameter 'num_ctx' to '96'\n");
  EXPECT_EQ(reply("/set system Be brief."), "Set system message.\n");
  std::string all;
  for (int turn = 0; turn < 8 && all.find("[the context") == std::string::npos; ++turn) all += reply("word word word");
  EXPECT_TRUE(
      std::regex_search(all, std::regex("\\[the context of 96 tokens is full: the oldest ([0-9]+ turns|turn) of "
                                        "the conversation \\([0-9]+ tokens\\) dropped, the system message "
                                        "kept\\]")))
      << all;
  std::string message;
  for (int i = 0; i < 200; ++i) message += "word ";
  EXPECT_NE(reply(message).find("and a context of 96 has room for 95"), std::string::npos);
  EXPECT_EQ(reply("word").find("error"), std::string::npos) << "it goes on";
  reply("/set parameter num_predict 300");
  const std::string long_answer = reply("word");
  EXPECT_NE(long_answer.find("dropped, the system message kept]"), std::string::npos) << "in the middle of an answer";
  EXPECT_NE(long_answer.find("[the context of 96 tokens is full: the answer ends here]"), std::string::npos);
  leave();
}

TEST_F(ReplSession, SaveKeepsTheConversationAndLoadGoesOnWithIt) {
  start({"qa", "--temp", "0", "-n", "4"});
  reply("/set system Be brief.");
  reply("/set parameter stop END");
  reply("word");
  EXPECT_EQ(reply("/save mine:one"), "Created new model 'mine:one'\n");
  const Manifest saved = manifest("mine:one");
  EXPECT_EQ(saved.system, "Be brief.");
  EXPECT_EQ(saved.stops, std::vector<std::string>{"END"});
  ASSERT_EQ(saved.messages.size(), 2U);
  EXPECT_EQ(saved.messages[0].role, "user");
  EXPECT_EQ(saved.messages[0].content, "word");
  EXPECT_EQ(saved.messages[1].role, "assistant");
  EXPECT_EQ(saved.prompt_template, manifest("qa").prompt_template);

  EXPECT_EQ(reply("/load mine:one"), "Loading model 'mine:one'\n");
  EXPECT_EQ(reply("/show system"), "Be brief.\n\n");
  reply("word");
  EXPECT_EQ(reply("/save mine:two"), "Created new model 'mine:two'\n");
  EXPECT_EQ(manifest("mine:two").messages.size(), 4U);
  EXPECT_EQ(reply("/load nope"), "Loading model 'nope'\nCouldn't find model 'nope'\n");
  EXPECT_EQ(reply("/show system"), "Be brief.\n\n") << "the session is as it was";
  EXPECT_NE(reply("/list").find("mine:two"), std::string::npos);
  leave();
}

TEST_F(ReplSession, IncompleteAndWrongCommands) {
  start({"tiny"});
  EXPECT_EQ(reply("/load"), "Usage:\n  /load <modelname>\n");
  EXPECT_EQ(reply("/save"), "Usage:\n  /save <modelname>\n");
  EXPECT_EQ(reply("/save ../x"), "error: The model name '../x' is invalid\n");
  EXPECT_EQ(reply("/show wibble"), "Unknown command '/show wibble'. Type /? for help\n");
  EXPECT_EQ(reply("/set format"), "Invalid or missing format. For 'json' mode use '/set format json'\n");
  EXPECT_EQ(reply("/set parameter").rfind("Available Parameters:\n", 0), 0U);
  EXPECT_EQ(reply("/set parameter temperature -1").rfind("Couldn't set parameter: \"", 0), 0U);
  EXPECT_EQ(reply("/set system").rfind("Available Commands:\n", 0), 0U);
  EXPECT_EQ(reply("   "), "");
  leave();
}

TEST_F(ReplSession, AnswersHaveTheFormatThatWasSet) {
  start({"tiny", "-n", "3"});
  EXPECT_EQ(reply("/set format json"), "Set format to 'json' mode.\n");
  const std::string answer = reply("word");
  if (answer.find("built without constrained output") == std::string::npos) {
    EXPECT_EQ(answer.find_first_not_of(" \t\r\n"), answer.find('{')) << answer;
  }
  EXPECT_EQ(reply("/set noformat"), "Disabled format.\n");
  leave();
}

TEST_F(ReplSession, PicturesAreSeenAndStayInTheConversation) {
  const std::string tower = (home() / "tower.gguf").string();
  ASSERT_EQ(test::run_carat({"synth", "siglip-tiny", "--type", "f16", "--text-width", "256", tower}).exit_code, 0);
  const Store store(home());
  Manifest chat = manifest("tiny");
  chat.prompt_template = "<start_of_turn>user\n{{ .Prompt }}<end_of_turn>\n<start_of_turn>model\n";
  ASSERT_TRUE(store.save(ModelName::parse("chat").value(), chat).ok());
  const std::string picture = std::string(kSourceDir) + "/tests/golden/images/small.png";
  std::string question = "'" + picture + "'";
  for (int i = 0; i < 40; ++i) question += " word";

  start({"chat", "--mmproj", tower, "--verbose", "--temp", "0", "-n", "4"}, {}, 400);
  const std::string answer = reply(question);
  EXPECT_NE(answer.find("Added image '" + picture + "'\n"), std::string::npos) << answer;
  const int first = prompt_count(answer);
  EXPECT_GT(first, 60);
  EXPECT_LT(prompt_count(reply("word")), first);
  const std::string again = reply("word " + picture + " " + picture);
  EXPECT_GT(prompt_count(again), 32) << again;
  EXPECT_NE(reply((home() / "tower.gguf").string() + " and /tmp/none.png").find("Unknown command"), std::string::npos);
  leave();
}

TEST_F(ReplSession, AModelWithoutATowerSaysSo) {
  start({"tiny"});
  const std::filesystem::path picture = home() / "cat.png";
  ASSERT_EQ(std::fclose(std::fopen(picture.c_str(), "w")), 0);
  EXPECT_NE(reply("What is in " + picture.string() + " then").find("has no vision tower, so it sees no pictures"),
            std::string::npos);
  leave();
}

TEST_F(ReplSession, APathIsNoCommandThatIsKnown) {
  start({"tiny", "-n", "2"});
  for (const std::string& line : {std::string("/"), std::string("//"), std::string("/tmp"), home().string()}) {
    EXPECT_EQ(reply(line), "Unknown command '" + line + "'. Type /? for help\n");
  }
  EXPECT_EQ(reply("/tmp is a folder"), "Unknown command '/tmp'. Type /? for help\n");
  const std::filesystem::path picture = home() / "dog.png";
  ASSERT_EQ(std::fclose(std::fopen(picture.c_str(), "w")), 0);
  EXPECT_NE(reply(picture.string() + " what is it").find("has no vision tower"), std::string::npos);
  leave();
}

TEST_F(ReplSession, AMessageThatCannotFitLosesNothing) {
  start({"qa", "--temp", "0", "--ignore-eos", "-n", "4", "--stop", "never"}, {}, 200);
  reply("/set parameter num_ctx 96");
  reply("one");
  reply("two");
  ASSERT_EQ(reply("/save before"), "Created new model 'before'\n");
  std::string message;
  for (int i = 0; i < 200; ++i) message += "word ";
  EXPECT_NE(reply(message).find("and a context of 96 has room for 95"), std::string::npos);
  ASSERT_EQ(reply("/save after"), "Created new model 'after'\n");
  EXPECT_EQ(manifest("before").messages.size(), 4U);
  ASSERT_EQ(manifest("after").messages.size(), 4U);
  EXPECT_EQ(manifest("after").messages[0].content, "one");
  leave();
}

TEST_F(ReplSession, WhatIsSavedIsForItsOwner) {
  start({"qa", "-n", "2"});
  reply("something private");
  ASSERT_EQ(reply("/save private"), "Created new model 'private'\n");
  const auto path = home() / "manifests" / ModelName::parse("private").value().path();
  EXPECT_EQ(std::filesystem::status(path).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  leave();
}

TEST_F(ReplSession, ShowSaysWhatThisSessionHasSet) {
  start({"qa"});
  reply("/set system Be terse.");
  reply("/set parameter temperature 0.5");
  reply("/set parameter stop END");
  const std::string info = reply("/show info");
  EXPECT_NE(info.find("temperature"), std::string::npos) << info;
  EXPECT_NE(info.find("Be terse."), std::string::npos) << info;
  EXPECT_NE(info.find("\"END\""), std::string::npos) << info;
  EXPECT_EQ(info.find("Question"), std::string::npos) << "the model's own stops are replaced";
  const std::string modelfile = reply("/show modelfile");
  EXPECT_NE(modelfile.find("SYSTEM \"Be terse.\"\n"), std::string::npos) << modelfile;
  EXPECT_NE(modelfile.find("PARAMETER temperature 0.5\n"), std::string::npos);
  EXPECT_NE(modelfile.find("PARAMETER stop END\n"), std::string::npos);
  leave();
}

TEST_F(ReplSession, OllamasOtherParametersAreTakenAndSaidToDoNothing) {
  start({"tiny"}, {}, 200);
  for (const char* line : {"use_mmap true", "num_gpu 99", "mirostat 1", "num_thread 4", "low_vram false"}) {
    const std::string words(line);
    const std::string name = words.substr(0, words.find(' ')), value = words.substr(words.find(' ') + 1);
    EXPECT_EQ(reply("/set parameter " + words), "Set parameter '" + name + "' to '" + value + "'\n'" + name +
                                                    "' tunes what Carat does not have: it changes nothing here\n");
  }
  EXPECT_EQ(reply("/set parameter use_mmap maybe"), "Couldn't set parameter: \"invalid bool value [maybe]\"\n");
  EXPECT_EQ(reply("/set parameter top_p 2"), "Couldn't set parameter: \"top_p is 2, expected 0 to 1\"\n");
  EXPECT_EQ(reply("/set think high").substr(0, 1), "w");
  EXPECT_TRUE(reply("/set think high").ends_with("Set 'think' mode to 'high'.\n"));
  EXPECT_TRUE(reply("/set think").ends_with("Set 'think' mode.\n"));
  leave();
}

TEST_F(ReplSession, AnswersWrapAtTheWidthOfTheResizedTerminal) {
  start({"tiny", "--temp", "0", "--ignore-eos", "-n", "120"});
  terminal_->resize(20);
  const std::string answer = reply("word");
  size_t longest = 0, length = 0;
  for (const char c : answer) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++length;
    if (c == '\n') length = 0;
    longest = std::max(longest, length);
  }
  EXPECT_LE(longest, 20U) << answer;
  EXPECT_GT(answer.size(), 60U) << "long enough to be wrapped";
  leave();
}

TEST_F(ReplSession, ByeAndExitLeave) {
  for (const char* word : {"/bye\r", "/exit\r"}) {
    start({"tiny"});
    terminal_->type(word);
    terminal_->read_to_end();
    EXPECT_EQ(terminal_->exit_code(), 0);
  }
}

}  // namespace
}  // namespace carat
