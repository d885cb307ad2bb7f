#include "chat/generation_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "chat/prompt_format.h"

namespace carat::chat {
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
};

constexpr Setter kSetters[] = {
    {"temperature", "temp", set_float<&SamplingParams::temperature>},
    {"top_k", "", set_int<&SamplingParams::top_k>},
    {"top_p", "", set_float<&SamplingParams::top_p>},
    {"min_p", "", set_float<&SamplingParams::min_p>},
    {"typical_p", "typical", set_float<&SamplingParams::typical_p>},
    {"repeat_penalty", "repetition_penalty", set_float<&SamplingParams::repetition_penalty>},
    {"presence_penalty", "", set_float<&SamplingParams::presence_penalty>},
    {"frequency_penalty", "", set_float<&SamplingParams::frequency_penalty>},
    {"repeat_last_n", "", set_int<&SamplingParams::repeat_last_n>},
    {"seed", "", set_seed},
    {"num_predict", "max_tokens", set_num_predict},
    {"min_tokens", "", set_int<&SamplingParams::min_tokens>},
    {"num_ctx", "ctx_size", set_context},
    {"logit_bias", "", set_logit_bias},
    {"ignore_eos", "", set_ignore_eos},
    {"num_keep", "", check_int},
    {"num_batch", "", check_int},
    {"num_gpu", "", check_int},
    {"main_gpu", "", check_int},
    {"num_thread", "", check_int},
};

}  // namespace

GenerationOptions default_generation(const SamplingDefaults& defaults) {
  GenerationOptions options;
  SamplingParams& sampling = options.sampling;
  sampling.temperature = defaults.temperature.value_or(sampling.temperature);
  sampling.top_k = defaults.top_k.value_or(sampling.top_k);
  sampling.top_p = defaults.top_p.value_or(sampling.top_p);
  sampling.min_p = defaults.min_p.value_or(sampling.min_p);
  sampling.typical_p = defaults.typical_p.value_or(sampling.typical_p);
  sampling.repetition_penalty = defaults.repetition_penalty.value_or(sampling.repetition_penalty);
  sampling.repeat_last_n = defaults.repeat_last_n.value_or(sampling.repeat_last_n);
  sampling.max_tokens = defaults.max_tokens.value_or(sampling.max_tokens);
  sampling.min_tokens = defaults.min_tokens.value_or(sampling.min_tokens);
  options.stops = defaults.stops;
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

Status apply(const GivenOptions& given, GenerationOptions& options) {
  for (const auto& [name, values] : given) {
    const Status status = set_generation_option(options, name, values);
    if (!status.ok()) {
      return Error{ErrorCode::kInvalidArgument, fmt::format("{}: {}", name, status.error().message)};
    }
  }
  return {};
}

// The sampler's own check comes last, on what the three sources make together.
Result<GenerationOptions> generation_of(const OpenModel& model, const GivenOptions& given) {
  GenerationOptions options = default_generation(model.file.sampling);
  if (!model.resolved.stops.empty()) options.stops = model.resolved.stops;
  if (const auto known = known_template_of(model); known.ok() && *known) {  // where it is not, whoever chats says so
    for (std::string& stop : stop_texts((*known)->style)) options.stops.push_back(std::move(stop));
  }
  for (const auto& [name, value] : model.resolved.parameters) {
    CARAT_CHECK(set_generation_option(options, name, std::span(&value, 1)));
  }
  CARAT_CHECK(apply(given, options));
  CARAT_CHECK(validate(options.sampling, model.file.config.vocabulary));
  return options;
}

}  // namespace carat::chat
