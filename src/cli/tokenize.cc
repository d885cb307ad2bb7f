// carat tokenize MODEL: text to ids, for people and scripts.
//   standard input as one text -> its ids on one line, separated by spaces, or with --json as an array
//   --jsonl: lines {"text": "..."} -> lines {"ids": [...], "decoded": "..."}
// The ids are those that Hugging Face's tokenizer gives without special tokens added: control tokens in the text are
// recognised and no <bos> is put before it. --no-control reads the text as `carat run` reads what a user types.
#include <fmt/format.h>

#include "base/json.h"
#include "chat/open_model.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/input.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/report.h"
#include "formats/json_guard.h"

namespace carat::cli {
namespace {

struct TokenizeFlags {
  std::string model;
  bool json = false, jsonl = false, bos = false, control = true;
};

std::vector<int32_t> encode(const Tokenizer& tokenizer, const TokenizeFlags& flags, int32_t bos,
                            std::string_view text) {
  std::vector<int32_t> ids = flags.control ? tokenizer.encode_with_control(text) : tokenizer.encode(text);
  if (flags.bos) ids.insert(ids.begin(), bos);
  return ids;
}

Result<std::string> encode_line(const Tokenizer& tokenizer, const TokenizeFlags& flags, int32_t bos,
                                const std::string& line) {
  CARAT_TRY(const auto parsed, parse_json(line));
  if (!parsed.is_object() || !parsed.contains("text") || !parsed["text"].is_string()) {
    return Error{ErrorCode::kInvalidArgument, R"(expected {"text": "..."})"};
  }
  const std::vector<int32_t> ids = encode(tokenizer, flags, bos, parsed["text"].get_ref<const std::string&>());
  return json_text({{"ids", ids}, {"decoded", tokenizer.decode(ids, true)}});
}

Status tokenize(const TokenizeFlags& flags) {
  CARAT_TRY(const chat::OpenModel model, open_or_fetch(flags.model));
  CARAT_TRY(const Tokenizer tokenizer, chat::load_tokenizer(model.file));
  const int32_t bos = model.file.config.bos_id;
  CARAT_TRY(Input input, Input::open("-"));
  if (flags.jsonl) {
    std::string line;
    for (int64_t number = 1;; ++number) {
      CARAT_TRY(const bool more, input.next_line(line));
      if (!more) break;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      const Result<std::string> result = encode_line(tokenizer, flags, bos, line);
      if (!result) return Error{result.error().code, fmt::format("line {}: {}", number, result.error().message)};
      say("{}\n", *result);
    }
  } else {
    CARAT_TRY(const std::string text, input.read());
    const std::vector<int32_t> ids = encode(tokenizer, flags, bos, text);
    const std::string list = fmt::format("{}", fmt::join(ids, flags.json ? ", " : " "));
    say("{}\n", flags.json ? "[" + list + "]" : list);
  }
  return model.file.whole();
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* command = app.add_subcommand("tokenize", "Print the token ids of the text on standard input");
  command->footer("Example:\n  printf 'Why is the sky blue?' | carat tokenize gemma3:270m-pt");
  command->add_option("MODEL", flags->model, "A name, a GGUF file or a Hugging Face directory")->required();
  auto* json = command->add_flag("--json", flags->json, "Print the ids as a JSON array");
  command->add_flag("--jsonl", flags->jsonl, R"(Lines {"text": "..."} in, lines {"ids": [...], "decoded": "..."} out)")
      ->excludes(json);
  command->add_flag("--bos,!--no-bos", flags->bos, "Put <bos> first (default: no)");
  command->add_flag("--control,!--no-control", flags->control,
                    "Recognise control tokens such as <start_of_turn> in the text (default: yes)");
  command->callback(
      [&action, flags] { action = [flags] { return run_and_report([&] { return tokenize(*flags); }); }; });
}

}  // namespace carat::cli
