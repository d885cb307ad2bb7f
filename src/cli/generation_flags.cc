#include "cli/generation_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/arguments.h"

namespace carat::cli {
namespace {

struct Flag {
  const char* option;  // its name in chat/generation_options
  const char* names;
  const char* help;
};

constexpr Flag kFlags[] = {
    {"temperature", "--temperature,--temp", "0 is the most probable token each time; higher is more surprising"},
    {"top_k", "--top-k,--top_k", "Choose among the k most probable tokens; 0: all"},
    {"top_p", "--top-p,--top_p", "Choose among the fewest tokens that hold this much probability"},
    {"min_p", "--min-p,--min_p", "Drop tokens less probable than this times the most probable"},
    {"typical_p", "--typical-p,--typical_p,--typical", "Locally typical sampling; 1: off"},
    {"repeat_penalty", "--repeat-penalty,--repeat_penalty,--repetition-penalty,--repetition_penalty",
     "Makes tokens that were there already less probable; 1: off"},
    {"presence_penalty", "--presence-penalty,--presence_penalty",
     "Taken once from the logit of a token that was there"},
    {"frequency_penalty", "--frequency-penalty,--frequency_penalty",
     "Taken from a token's logit as often as it was there"},
    {"repeat_last_n", "--repeat-last-n,--repeat_last_n", "Tokens that the penalties look back on; -1: all, 0: none"},
    {"seed", "--seed", "The same seed gives the same answer; -1: a random one"},
    {"num_predict", "-n,--num-predict,--num_predict,--max-tokens,--max_tokens,--n-predict",
     "Tokens of the answer at most; -1: until the context is full"},
    {"min_tokens", "--min-tokens,--min_tokens", "Tokens before the model may end its answer"},
    {"num_ctx", "-c,--num-ctx,--num_ctx,--ctx-size,--ctx_size",
     "Tokens of prompt and answer together; 0: from the prompt's length"},
    {"logit_bias", "--logit-bias,--logit_bias", "ID=BIAS, added to the logit of token ID; may be repeated"},
};

}  // namespace

void add_generation_flags(CLI::App& app, chat::GivenOptions& given) {
  for (const Flag& flag : kFlags) {
    const auto record = [&given, name = std::string(flag.option)](const std::vector<std::string>& marked) {
      std::vector<std::string> values = unshielded(marked);
      chat::GenerationOptions scratch;
      const Status status = chat::set_generation_option(scratch, name, values);
      if (!status.ok()) {
        const std::string& message = status.error().message;
        throw message.starts_with(name) ? CLI::ValidationError(message) : CLI::ValidationError(name, message);
      }
      given.emplace_back(name, std::move(values));
    };
    const std::string range = chat::generation_option_range(flag.option);
    const std::string help = range.empty() ? flag.help : fmt::format("{} ({})", flag.help, range);
    keeping_marks(app.add_option_function<std::vector<std::string>>(flag.names, record, help))
        ->type_name("VALUE")
        ->allow_extra_args(false)
        ->group("Sampling");
  }
  keeping_marks(app.add_option_function<std::vector<std::string>>(
                    "--stop",
                    [&given](const std::vector<std::string>& stops) { given.emplace_back("stop", unshielded(stops)); },
                    "A text that ends the answer; may be repeated; replaces the model's own"))
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group("Sampling");
  app.add_flag_function(
         "--ignore-eos,--ignore_eos",
         [&given](int64_t) { given.emplace_back("ignore_eos", std::vector<std::string>{"true"}); },
         "Go on after the model ends its answer")
      ->group("Sampling");
}

}  // namespace carat::cli
