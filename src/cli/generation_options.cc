#include "cli/generation_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <optional>

namespace carat::cli {
namespace {

template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Error invalid(std::string_view type, std::string_view text) {
  return {ErrorCode::kInvalidArgument, fmt::format("invalid {} value [{}]", type, text)};
}

template <float SamplingParams::*field>
Status set_float(GenerationOptions& options, const std::string& text) {
  const auto value = parse_number<float>(text);
  if (!value) return invalid("float", text);
  options.sampling.*field = *value;
  return {};
}

template <int32_t SamplingParams::*field>
Status set_int(GenerationOptions& options, const std::string& text) {
  const auto value = parse_number<int32_t>(text);
  if (!value) return invalid("int", text);
  options.sampling.*field = *value;
  return {};
}

// Ollama: -1 without end, -2 until the context is full; here both end with the context.
Status set_num_predict(GenerationOptions& options, const std::string& text) {
  CARAT_CHECK(set_int<&SamplingParams::max_tokens>(options, text));
  if (options.sampling.max_tokens == -2) options.sampling.max_tokens = -1;
  return {};
}

// -1 is Ollama's word for a random seed.
Status set_seed(GenerationOptions& options, const std::string& text) {
  const auto value = parse_number<int64_t>(text);
  if (!value) return invalid("int", text);
  options.sampling.seed = *value == -1 ? std::nullopt : std::optional(static_cast<uint64_t>(*value));
  return {};
}

Status set_context(GenerationOptions& options, const std::string& text) {
  const auto value = parse_number<int32_t>(text);
  if (!value) return invalid("int", text);
  if (*value < 0) return Error{ErrorCode::kInvalidArgument, fmt::format("num_ctx is {}, expected 0 or more", *value)};
  options.context = *value;
  return {};
}

Status set_logit_bias(GenerationOptions& options, const std::string& text) {
  const size_t equals = text.find('=');
  const auto id = parse_number<int32_t>(std::string_view(text).substr(0, equals));
  const auto bias =
      equals == std::string::npos ? std::nullopt : parse_number<float>(std::string_view(text).substr(equals + 1));
  if (!id || !bias) return invalid("ID=BIAS", text);
  options.sampling.logit_bias[*id] = *bias;
  return {};
}

Status set_ignore_eos(GenerationOptions& options, const std::string& text) {
  if (text != "true" && text != "false") return invalid("bool", text);
  options.sampling.ignore_eos = text == "true";
  return {};
}

Status check_int(GenerationOptions&, const std::string& text) {
  if (!parse_number<int64_t>(text)) return invalid("int", text);
  return {};
}

struct Setter {
  std::string_view name, other_name;
  Status (*set)(GenerationOptions&, const std::string&);
  const char* flags;  // null: no flag of its own
  const char* help;
};

constexpr Setter kSetters[] = {
    {"temperature", "temp", set_float<&SamplingParams::temperature>, "--temperature,--temp",
     "0 is the most probable token each time; higher is more surprising"},
    {"top_k", "", set_int<&SamplingParams::top_k>, "--top-k,--top_k",
     "Choose among the k most probable tokens; 0: all"},
    {"top_p", "", set_float<&SamplingParams::top_p>, "--top-p,--top_p",
     "Choose among the fewest tokens that hold this much probability"},
    {"min_p", "", set_float<&SamplingParams::min_p>, "--min-p,--min_p",
     "Drop tokens less probable than this times the most probable"},
    {"typical_p", "typical", set_float<&SamplingParams::typical_p>, "--typical-p,--typical_p,--typical",
     "Locally typical sampling; 1: off"},
    {"repeat_penalty", "repetition_penalty", set_float<&SamplingParams::repetition_penalty>,
     "--repeat-penalty,--repeat_penalty,--repetition-penalty,--repetition_penalty",
     "Makes tokens that were there already less probable; 1: off"},
    {"presence_penalty", "", set_float<&SamplingParams::presence_penalty>, "--presence-penalty,--presence_penalty",
     "Taken once from the logit of a token that was there"},
    {"frequency_penalty", "", set_float<&SamplingParams::frequency_penalty>, "--frequency-penalty,--frequency_penalty",
     "Taken from a token's logit as often as it was there"},
    {"repeat_last_n", "", set_int<&SamplingParams::repeat_last_n>, "--repeat-last-n,--repeat_last_n",
     "Tokens that the penalties look back on; -1: all, 0: none"},
    {"seed", "", set_seed, "--seed", "The same seed gives the same answer; -1: a random one"},
    {"num_predict", "max_tokens", set_num_predict,
     "-n,--num-predict,--num_predict,--max-tokens,--max_tokens,--n-predict",
     "Tokens of the answer at most; -1: until the context is full"},
    {"min_tokens", "", set_int<&SamplingParams::min_tokens>, "--min-tokens,--min_tokens",
     "Tokens before the model may end its answer"},
    {"num_ctx", "ctx_size", set_context, "-c,--num-ctx,--num_ctx,--ctx-size,--ctx_size",
     "Tokens of prompt and answer together; 0: from the prompt's length"},
    {"logit_bias", "", set_logit_bias, "--logit-bias,--logit_bias",
     "ID=BIAS, added to the logit of token ID; may be repeated"},
    {"ignore_eos", "", set_ignore_eos, nullptr, nullptr},
    {"num_keep", "", check_int, nullptr, nullptr},
    {"num_batch", "", check_int, nullptr, nullptr},
    {"num_gpu", "", check_int, nullptr, nullptr},
    {"main_gpu", "", check_int, nullptr, nullptr},
    {"num_thread", "", check_int, nullptr, nullptr},
};

}  // namespace

GenerationOptions default_generation(const SamplingDefaults& defaults) {
  GenerationOptions options;
  if (defaults.temperature) options.sampling.temperature = *defaults.temperature;
  if (defaults.top_k) options.sampling.top_k = *defaults.top_k;
  if (defaults.top_p) options.sampling.top_p = *defaults.top_p;
  return options;
}

Status set_generation_option(GenerationOptions& options, std::string_view name, std::span<const std::string> values) {
  if (name == "stop") {
    options.stops.assign(values.begin(), values.end());
    return {};
  }
  const auto setter = std::find_if(std::begin(kSetters), std::end(kSetters), [&](const Setter& s) {
    return name == s.name || (!s.other_name.empty() && name == s.other_name);
  });
  if (setter == std::end(kSetters)) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("unknown parameter '{}'", name)};
  }
  if (values.empty()) return Error{ErrorCode::kInvalidArgument, fmt::format("{} needs a value", name)};
  for (const std::string& value : values) CARAT_CHECK(setter->set(options, value));
  return {};
}

Status GenerationFlags::apply(GenerationOptions& options) const {
  for (const auto& [name, values] : given) {
    const Status status = set_generation_option(options, name, values);
    if (!status.ok()) {
      return Error{ErrorCode::kInvalidArgument, fmt::format("{}: {}", name, status.error().message)};
    }
  }
  return {};
}

void add_generation_flags(CLI::App& app, GenerationFlags& flags) {
  for (const Setter& setter : kSetters) {
    if (setter.flags == nullptr) continue;
    const std::string name(setter.name);
    const auto record = [&flags, name](const std::vector<std::string>& values) {
      flags.given.emplace_back(name, values);
    };
    app.add_option_function<std::vector<std::string>>(setter.flags, record, setter.help)
        ->type_name("VALUE")
        ->allow_extra_args(false)
        ->group("Sampling");
  }
  app.add_option_function<std::vector<std::string>>(
         "--stop", [&flags](const std::vector<std::string>& stops) { flags.given.emplace_back("stop", stops); },
         "A text that ends the answer; may be repeated; replaces the model's own")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group("Sampling");
  app.add_flag_function(
         "--ignore-eos,--ignore_eos",
         [&flags](int64_t) { flags.given.emplace_back("ignore_eos", std::vector<std::string>{"true"}); },
         "Go on after the model ends its answer")
      ->group("Sampling");
}

}  // namespace carat::cli
