// Every key of `/? shortcuts`, and what a line can hold. What the keys made of a line is seen by its effect: a system
// text that /show system prints.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "cli/repl/fixture.h"

namespace carat {
namespace {

class ReplKeys : public test::ReplTest {
 protected:
  // The system text after a line typed with these keys.
  std::string system_after(const std::string& keys) {
    EXPECT_EQ(reply(keys), "Set system message.\n");
    return reply("/show system");
  }
  static std::string history() {
    std::ifstream file(home() / "history");
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_F(ReplKeys, MoveAndDelete) {
  start({"tiny"});
  EXPECT_EQ(system_after("t system hi\x01/se\x05 you"), "hi you\n\n") << "Ctrl-A, Ctrl-E";
  EXPECT_EQ(system_after("t system hi\x1b[H/se\x1b[F you"), "hi you\n\n") << "Home, End";
  EXPECT_EQ(system_after("/set system b d\x1b"
                         "bc "),
            "b c d\n\n")
      << "Alt-B";
  EXPECT_EQ(system_after("/s system f\x01\x1b"
                         "fet"),
            "f\n\n")
      << "Ctrl-A, Alt-F";
  EXPECT_EQ(system_after("/set system keep this\x1b"
                         "b\x0b"),
            "keep\n\n")
      << "Ctrl-K";
  EXPECT_EQ(system_after("rubbish/set system u\x01\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x15"), "u\n\n")
      << "Ctrl-U";
  EXPECT_EQ(system_after("/set system one two\x17three"), "one three\n\n") << "Ctrl-W";
  EXPECT_EQ(system_after("/set system ac\x1b[Db"), "abc\n\n") << "the left arrow";
  EXPECT_EQ(system_after("/set system axc\x1b[D\x1b[D\x04"
                         "b"),
            "abc\n\n")
      << "Ctrl-D within a line";
  leave();
}

TEST_F(ReplKeys, UnicodeIsEditedByCharacters) {
  start({"tiny"});
  EXPECT_EQ(system_after("/set system h\u00e4\u00df\u6f22\x7f\x7f\u00e9"), "h\u00e4\u00e9\n\n");
  leave();
}

TEST_F(ReplKeys, ControlLClearsTheScreenAndKeepsTheLine) {
  start({"tiny"});
  terminal_->type("/set system");
  terminal_->read_to("system");
  terminal_->type("\x0c");
  terminal_->read_to("\x1b[H\x1b[2J");
  EXPECT_EQ(system_after(" kept"), "kept\n\n");
  leave();
}

TEST_F(ReplKeys, HistoryIsKeptAndSearched) {
  start({"tiny"});
  EXPECT_EQ(system_after("/set system first"), "first\n\n");
  EXPECT_EQ(system_after("/set system second"), "second\n\n");
  EXPECT_EQ(reply("/set nohistory"), "");
  EXPECT_EQ(reply("/unkept"), "Unknown command '/unkept'. Type /? for help\n");
  leave();
  EXPECT_EQ(history(), "/set system first\n/show system\n/set system second\n/show system\n/set nohistory\n");
  struct stat info {};
  ASSERT_EQ(::stat((home() / "history").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U) << "nobody else's business";

  start({"tiny"});
  EXPECT_EQ(reply("\x1b[A\x1b[A\x1b[A"), "Set system message.\n") << "the up arrow, in the next session";
  EXPECT_EQ(reply("/show system"), "second\n\n");
  EXPECT_TRUE(reply("\x12"
                    "first\x05")
                  .ends_with("Set system message.\n"));
  EXPECT_EQ(reply("/show system"), "first\n\n") << "Ctrl-R";
  leave();
}

TEST_F(ReplKeys, TheEnvironmentCanForbidHistory) {
  start({"tiny"}, {{"CARAT_NOHISTORY", "1"}});
  reply("/wibble");
  leave();
  EXPECT_FALSE(std::filesystem::exists(home() / "history"));
}

TEST_F(ReplKeys, ControlCAtThePromptGivesTheLineUp) {
  start({"tiny"});
  terminal_->type("\x03");
  EXPECT_NE(test::plain(terminal_->read_to(test::kPlaceholder)).find("\nUse Ctrl + d or /bye to exit.\n"),
            std::string::npos);
  terminal_->type("rubbish\x03");
  EXPECT_EQ(before_prompt(terminal_->read_to(test::kPlaceholder)), "rubbish\n");
  EXPECT_EQ(reply("\"\"\"half a message", "Press Enter to send"), "");
  terminal_->type("\x03");
  terminal_->read_to(test::kPlaceholder);
  EXPECT_EQ(reply("/wibble"), "Unknown command '/wibble'. Type /? for help\n");
  leave();
}

TEST_F(ReplKeys, TheEditorsTextComesToTheLine) {
  start({"tiny"}, {{"CARAT_EDITOR", "printf %s ' edited' >>"}});
  terminal_->type("/set system\x07");
  terminal_->read_to(" edited");
  EXPECT_EQ(system_after(""), "edited\n\n");
  leave();
  start({"tiny"}, {{"CARAT_EDITOR", "false"}});
  terminal_->type("/wib\x07");
  EXPECT_NE(terminal_->read_to("CARAT_EDITOR names another").find("the editor 'false' failed"), std::string::npos);
  terminal_->read_to("/wib");
  EXPECT_EQ(reply("ble"), "Unknown command '/wibble'. Type /? for help\n") << "the line is as it was";
  leave();
}

TEST_F(ReplKeys, PastedNewlinesStayInTheLine) {
  start({"tiny"});
  const std::string pasted = "\x1b[200~/set system \"\"\"a\rb\x01\x1b[201~\"\"\"";
  terminal_->type(pasted + "\r");
  terminal_->read_to("Set system message.");
  terminal_->read_to(test::kPlaceholder);
  EXPECT_EQ(reply("/show system"), "a\nb\n\n");
  leave();
}

TEST_F(ReplKeys, ALongPasteIsOneMessage) {
  start({"tiny"});
  std::string text;
  for (int i = 0; i < 60; ++i) text += "line " + std::to_string(i) + (i % 3 == 0 ? "\r\n" : i % 3 == 1 ? "\n" : "\r");
  terminal_->type("/set system \"\"\"\x1b[200~" + text + "\x1b[201~\"\"\"\r");
  terminal_->read_to("Set system message.");
  terminal_->read_to(test::kPlaceholder);
  const std::string shown = reply("/show system");
  EXPECT_TRUE(shown.starts_with("line 0\nline 1\nline 2\n")) << shown;
  EXPECT_NE(shown.find("line 58\nline 59\n"), std::string::npos);
  leave();
}

TEST_F(ReplKeys, WhatIsPastedDuringAnAnswerIsOneMessage) {
  start({"qa", "--backend", "reference", "--ignore-eos", "-n", "40", "--temp", "0", "--stop", "never"});
  terminal_->type("word\r");
  terminal_->read_to("word\r\n");
  terminal_->wait_for_signals();
  terminal_->type("\x1b[200~/set system \"\"\"a\nb\x1b[201~\"\"\"\r");
  terminal_->read_to("Set system message.");
  terminal_->read_to(test::kPlaceholder);
  EXPECT_EQ(reply("/show system"), "a\nb\n\n");
  leave();
}

TEST_F(ReplKeys, ControlJBeginsANewLine) {
  start({"tiny"});
  terminal_->type("/set system \"\"\"a\nb\"\"\"\r");
  terminal_->read_to("Set system message.");
  terminal_->read_to(test::kPlaceholder);
  EXPECT_EQ(reply("/show system"), "a\nb\n\n");
  leave();
}

TEST_F(ReplKeys, ControlSDoesNotStopTheTerminal) {
  start({"tiny"});
  EXPECT_EQ(system_after("/set system a\x13"
                         "b\x11"
                         "c"),
            "abc\n\n");
  leave();
}

TEST_F(ReplKeys, OfABrokenCharacterOnlyTheBadBytesGo) {
  start({"tiny"});
  EXPECT_EQ(system_after("/set system a\xe2"
                         "b"),
            "ab\n\n")
      << "the key after it counts";
  EXPECT_EQ(system_after("/set system c\xe4"), "c\n\n") << "and Enter";
  EXPECT_EQ(system_after("/set system d\xf0\x9f\xc3\xa9"), "d\u00e9\n\n");
  EXPECT_EQ(system_after("/set system \xff\x80z"), "z\n\n");
  terminal_->type("rubbish\xe2\x03");
  terminal_->read_to(test::kPlaceholder);
  EXPECT_EQ(reply("/wibble"), "Unknown command '/wibble'. Type /? for help\n") << "and Ctrl-C";
  leave();
}

TEST_F(ReplKeys, QuotesHoldLinesTogether) {
  start({"tiny"});
  EXPECT_EQ(reply("/set system \"\"\"one", "Press Enter to send"), "");
  EXPECT_EQ(reply("two", "Press Enter to send"), "");
  EXPECT_EQ(reply("\"\"\""), "Set system message.\n");
  EXPECT_EQ(reply("/show system"), "one\ntwo\n\n\n");
  EXPECT_EQ(system_after("/set system \"\"\"at once\"\"\""), "at once\n\n");
  leave();
}

}  // namespace
}  // namespace carat
