// What from outside is hostile, tried on the real program: each test is a kind of fault, each line an instance of it.
// Whatever happens, the program ends by itself, with an exit code that scripts know and one line that says what was
// wrong.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "model/fixture.h"
#include "store/store.h"
#include "support/paths.h"
#include "support/process.h"
#include "support/pty.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

class Hostile : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<test::TemporaryDirectory>();
    ASSERT_EQ(test::run_carat({"synth", "tiny", "--type", "q8_0", model()}).exit_code, 0);
    folder_->write("text.txt", std::string(4000, 'a') + " some text\n");
    folder_->write("lines.jsonl", "{\"ids\": [2, 5, 6]}\n");
    fs::create_directory(path("folder"));
    ASSERT_EQ(carat("pull model.gguf --name tiny").exit_code, 0);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static fs::path path(const std::string& name) { return folder_->path() / name; }
  static std::string model() { return path("model.gguf").string(); }

  // A line of shell, in the folder, with $C for the program.
  static test::ProcessResult shell(const std::string& line, const std::string& input = {}) {
    test::ProcessOptions options;
    options.input = input;
    options.environment = {{"CARAT_HOME", path("home").string()}, {"C", kCaratBinary}};
    return test::run_process({"/bin/sh", "-c", "cd '" + folder_->path().string() + "' && " + line}, options);
  }
  static test::ProcessResult carat(const std::string& arguments, const std::string& input = {}) {
    return shell("timeout 60 $C " + arguments, input);
  }

  static bool is_one_line(const std::string& text) {
    return std::count(text.begin(), text.end(), '\n') == 1 && text.ends_with('\n');
  }
  static void expect_one_error(const test::ProcessResult& result, int code, const std::string& what) {
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_TRUE(result.err.starts_with("Error: ")) << result.err;
    EXPECT_TRUE(is_one_line(result.err)) << result.err;
    EXPECT_NE(result.err.find(what), std::string::npos) << result.err;
    EXPECT_TRUE(std::none_of(result.err.begin(), result.err.end() - 1,
                             [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }))
        << "a control character in: " << result.err;
  }

 private:
  static inline std::unique_ptr<test::TemporaryDirectory> folder_;
};

TEST_F(Hostile, AFullStandardOutputIsToldByEveryCommand) {
  for (const char* arguments : {"list",
                                "list --json",
                                "list --quiet",
                                "show tiny",
                                "show tiny --json",
                                "show tiny --modelfile",
                                "show tiny --path",
                                "tokenize model.gguf <text.txt",
                                "tokenize model.gguf --json <text.txt",
                                "bench model.gguf -p 8 -n 2 -r 1",
                                "bench model.gguf -p 8 -n 2 -r 1 --json",
                                "perplexity model.gguf text.txt --ctx 16 --chunks 1",
                                "perplexity model.gguf text.txt --ctx 16 --chunks 1 --json",
                                "eval model.gguf lines.jsonl",
                                "run model.gguf -n 2 hello",

                                "ps --json",
                                "version",
                                "version --json",
                                "--version",
                                "--help",
                                "run --help",
                                "help",
                                "help show",
                                "completion bash",
                                "completion zsh",
                                "rm --unused",
                                "cp tiny tiny:full"}) {
    SCOPED_TRACE(arguments);
    const std::string line(arguments);
    const size_t redirect = line.find('<');
    expect_one_error(
        carat(line.substr(0, redirect) + " >/dev/full " + (redirect == line.npos ? "" : line.substr(redirect))), 1,
        "cannot write to standard output: No space left on device");
  }
}

TEST_F(Hostile, AFullStandardErrorIsNoReasonToFail) {
  EXPECT_EQ(carat("run model.gguf -n 2 --verbose hello 2>/dev/full").exit_code, 0);
  EXPECT_EQ(carat("show tiny --license 2>/dev/full").exit_code, 0);
  EXPECT_EQ(carat("show nope 2>/dev/full").exit_code, 1);
}

TEST_F(Hostile, AFolderOrAMissingFileAsInputIsAnError) {
  expect_one_error(carat("eval model.gguf folder"), 1, "folder");
  expect_one_error(carat("eval model.gguf - <folder"), 1, "standard input");
  expect_one_error(carat("tokenize model.gguf <folder"), 1, "standard input");
  expect_one_error(carat("tokenize model.gguf --jsonl <folder"), 1, "standard input");
  expect_one_error(carat("perplexity model.gguf folder"), 1, "folder");
  expect_one_error(carat("run model.gguf <folder"), 1, "standard input");
  expect_one_error(carat("eval model.gguf nothing"), 1, "nothing");
  expect_one_error(carat("perplexity model.gguf nothing"), 1, "nothing");
}

#if defined(__SANITIZE_ADDRESS__)
constexpr const char* kLittleMemory = "";  // AddressSanitizer reserves terabytes of addresses for itself
#else
constexpr const char* kLittleMemory = "ulimit -v 600000; ";
#endif

TEST_F(Hostile, EndlessInputHasALimitThatIsTold) {
  for (const char* arguments :
       {"perplexity model.gguf /dev/zero", "run model.gguf </dev/zero", "tokenize model.gguf </dev/zero",
        "tokenize model.gguf --jsonl </dev/zero", "eval model.gguf /dev/zero", "eval model.gguf - </dev/zero"}) {
    SCOPED_TRACE(arguments);
    expect_one_error(shell(std::string(kLittleMemory) + "timeout 60 $C " + arguments), 1, "is longer than");
  }
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_F(Hostile, MemoryAndThreadsThatCannotBeHadAreErrors) {
  for (const char* arguments :
       {"run model.gguf -n 2 --threads 1000 hello", "bench model.gguf -p 8 -n 2 -r 1 --threads 900",
        "eval model.gguf lines.jsonl --threads 1000"}) {
    SCOPED_TRACE(arguments);
    expect_one_error(shell(std::string(kLittleMemory) + "timeout 60 $C " + arguments), 1, "thread");
  }
  // Whatever a small address space lets it do: it ends by itself. Smaller yet, and it never begins: the system ends it
  // while its machine code is mapped (a signal), or the loader does while its libraries are (127).
  const auto ends = [](int mib, const std::string& arguments) {
    return shell("ulimit -v " + std::to_string(mib * 1024) + "; timeout 60 $C " + arguments).exit_code;
  };
  int begins = 8;
  while (begins < 150 && ends(begins, "--version") > 1) ++begins;
  ASSERT_LT(begins, 150) << "MiB, and it does not begin";
  for (int mib = begins; mib <= begins + 160; mib += 8) {
    const int code = ends(mib, "run model.gguf -n 2 hello");
    EXPECT_TRUE(code == 0 || code == 1) << mib << " MiB: " << code;
  }
}
#endif

TEST_F(Hostile, DeepJsonIsRefused) {
  const std::string deep(300'000, '[');
  expect_one_error(carat("eval model.gguf -", "{\"ids\": " + deep + "\n"), 2, "nested too deeply");
  expect_one_error(carat("tokenize model.gguf --jsonl", "{\"text\": " + deep + "\n"), 2, "nested too deeply");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  expect_one_error(carat("eval model.gguf -", objects + "\n"), 2, "nested too deeply");
  expect_one_error(carat("eval model.gguf -", "{\"ids\": [1,\n"), 2, "line 1: not JSON");
}

TEST_F(Hostile, NothingIsThrown) {
  expect_one_error(shell("mkdir gone; cd gone; rmdir ../gone; CARAT_HOME=x timeout 20 $C list"), 1, "");
  expect_one_error(shell("mkdir gone; cd gone; rmdir ../gone; CARAT_HOME=x timeout 20 $C show y"), 1, "");
  expect_one_error(shell("mkdir gone; cd gone; rmdir ../gone; timeout 20 $C pull ./x.gguf --name x"), 1, "");
  expect_one_error(
      shell("mkdir -p loop; ln -sf config.json loop/config.json; ln -sf x.json loop/x.json; timeout 20 $C pull "
            "./loop --name loop"),
      1, "");
  expect_one_error(shell("mkdir -p loops; ln -sf loops loops/loops; timeout 20 $C show ./loops/loops/"), 1, "");
  expect_one_error(shell("timeout 20 $C show ./$(printf 'a%.0s' $(seq 300)).gguf"), 1, "");
  // Names of files are bytes; JSON is not.
  const auto bytes = shell(
      "cp model.gguf \"$(printf 'm\\351.gguf')\"; cp text.txt \"$(printf 't\\351.txt')\"; "
      "timeout 60 $C bench \"$(printf './m\\351.gguf')\" -p 8 -n 2 -r 1 --json");
  EXPECT_EQ(bytes.exit_code, 0) << bytes.err;
  EXPECT_NE(bytes.out.find("m\xEF\xBF\xBD.gguf"), std::string::npos);
  EXPECT_EQ(
      shell("timeout 60 $C perplexity model.gguf \"$(printf 't\\351.txt')\" --ctx 16 --chunks 1 --json").exit_code, 0);
  EXPECT_EQ(shell("timeout 60 $C show \"$(printf './m\\351.gguf')\" --json").exit_code, 0);
}

TEST_F(Hostile, OnlyRegularFilesAreModels) {
  ASSERT_EQ(::mkfifo(path("x.gguf").c_str(), 0600), 0);
  fs::create_directory(path("fifos"));
  ASSERT_EQ(::mkfifo(path("fifos/config.json").c_str(), 0600), 0);
  for (const char* arguments :
       {"show ./x.gguf", "show ./x.gguf --json", "run ./x.gguf hello", "tokenize ./x.gguf", "eval ./x.gguf lines.jsonl",
        "perplexity ./x.gguf text.txt", "bench ./x.gguf", "pull ./x.gguf --name x", "run ./fifos hello",
        "synth tiny out.gguf --vocab ./x.gguf", "run /dev/null hello", "show /dev/zero"}) {
    SCOPED_TRACE(arguments);
    expect_one_error(shell(std::string("timeout 20 $C ") + arguments + " </dev/null"), 1, "");
  }
}

TEST_F(Hostile, NoInputIsWaitedForForEver) {
  ASSERT_EQ(::mkfifo(path("nobody").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo(path("nobody.png").c_str(), 0600), 0);
  const std::string vision = std::string(kSourceDir) + "/tests/golden/gemma3-tiny-vision ";
  for (const std::string& arguments :
       {std::string("eval model.gguf nobody"), std::string("perplexity model.gguf nobody"),
        std::string("create x -f nobody"), std::string("serve --port 0 --api-key-file nobody"),
        std::string("serve --port 0 --api-key-file /dev/zero"),
        std::string("serve --port 0 --ssl-certfile nobody --ssl-keyfile nobody"), "eval " + vision + "picture.jsonl",
        "eval " + vision + "pixels.jsonl",
        "run model.gguf --mmproj nobody what is " + std::string(kSourceDir) + "/tests/golden/images/square.jpg"}) {
    SCOPED_TRACE(arguments);
    shell(R"(echo '{"messages": [{"role": "user", "content": "x"}], "images": ["nobody.png"]}' >picture.jsonl)");
    shell(R"(echo '{"ids": [2], "pixels": "nobody.png"}' >pixels.jsonl)");
    expect_one_error(shell("timeout 20 $C " + arguments + " </dev/null"), 1, "");
  }
  EXPECT_EQ(shell("{ (sleep 0.5; cat lines.jsonl >nobody) & timeout 20 $C eval model.gguf nobody; }").exit_code, 0)
      << "whoever writes may come a moment later";
  expect_one_error(carat("create x -f lines.jsonl"), 2, "");
  shell("echo 'FROM ./nothing.gguf' >Modelfile");
  expect_one_error(carat("create x"), 1, "nothing.gguf: no such file or folder");
}

TEST_F(Hostile, OnlyFilesAreReplaced) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  for (const char* target : {"/dev/null", "fifo", "folder", "/dev/stdout"}) {
    SCOPED_TRACE(target);
    expect_one_error(carat(std::string("synth tiny ") + target), 1, "");
    expect_one_error(carat(std::string("eval model.gguf lines.jsonl --logits ") + target), 1, "");
  }
  EXPECT_TRUE(fs::is_fifo(path("fifo")));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  shell("rm -f kept; echo old >kept; ln -sf kept link");
  EXPECT_EQ(carat("eval model.gguf lines.jsonl --logits link").exit_code, 0);
  EXPECT_TRUE(fs::is_symlink(path("link"))) << "what a link leads to is replaced, not the link";
  // A full disk leaves what was there.
  shell("echo old >kept.npy");
  expect_one_error(shell("ulimit -f 8; timeout 60 $C eval model.gguf lines.jsonl --logits kept.npy"), 1, "");
  EXPECT_EQ(shell("cat kept.npy; ls -a | grep kept.npy-").out, "old\n");
}

TEST_F(Hostile, ErrorsAreOneLineWhateverTheyQuote) {
  Store store(path("home"));
  Manifest manifest = store.find(ModelName::parse("tiny").value()).value().manifest;
  manifest.prompt_template = "{{ if .Prompt\n}}\x1b]0;title\x07\r{{ end }}";
  ASSERT_TRUE(store.save(ModelName::parse("strange").value(), manifest).ok());
  expect_one_error(carat("run strange hello"), 1, "");
  expect_one_error(carat("show './a\nb\x1b[31m\x9b.gguf'"), 1, "a\\nb\\x1b[31m\\x9b.gguf");
  expect_one_error(carat("show 'x\x1b[31m'"), 2, "x\\x1b[31m");
  expect_one_error(carat("run 'x\ny' hello"), 2, "x\\ny");
  expect_one_error(carat("eval model.gguf 'no\nfile'"), 1, "no\\nfile");
  expect_one_error(carat("tokenize 'x\xc2\x9b' </dev/null"), 2, "x\\u009b");
}

// On a terminal what it would obey is shown; in a pipe the bytes stay what they are.
TEST_F(Hostile, NothingFromOutsideReachesATerminalAsItIs) {
  const std::string bad =
      "a\x1b]0;title\x07\x1b[2J\r\b\xc2\x9b"
      "31mz";
  Store store(path("home"));
  Manifest manifest = store.find(ModelName::parse("tiny").value()).value().manifest;
  manifest.prompt_template = bad + "{{ .Prompt }}";
  manifest.system = bad;
  manifest.stops = {bad};
  manifest.parameters = {{"num_ctx", bad}};
  manifest.license_name = bad;
  manifest.messages = {{"user", bad}, {"assistant", bad}};
  ASSERT_TRUE(store.save(ModelName::parse("bad").value(), manifest).ok());
  EXPECT_EQ(carat("show bad --system").out, bad + "\n");
  for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
           {}, {"--system"}, {"--template"}, {"--parameters"}, {"--modelfile"}, {"--json"}}) {
    std::vector<std::string> arguments{kCaratBinary, "show", "bad"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    test::Pty terminal(arguments, {{"CARAT_HOME", path("home").string()}});
    const std::string shown = terminal.read_to_end();
    SCOPED_TRACE(flags.empty() ? "show" : flags[0]);
    EXPECT_NE(shown.find('a'), std::string::npos);
    EXPECT_EQ(shown.find('\x1b'), std::string::npos) << shown;
    EXPECT_EQ(shown.find('\x07'), std::string::npos);
    EXPECT_EQ(shown.find('\b'), std::string::npos);
    EXPECT_EQ(shown.find("\xc2\x9b"), std::string::npos);
  }
}

TEST_F(Hostile, TheFileIsCutShortWhileItIsUsed) {
  // The reference backend reads the map for every token, so it meets the end of the file in the middle of its work.
  shell("cp model.gguf cut.gguf");
  const auto result = shell(
      "(sleep 0.7; : >cut.gguf) & timeout 120 $C run ./cut.gguf --backend reference -n 4000 --ignore-eos hello "
      ">/dev/null; "
      "code=$?; wait; exit $code");
  expect_one_error(result, 1, "cut");
}

}  // namespace
}  // namespace carat
