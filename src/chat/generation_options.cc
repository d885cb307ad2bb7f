#include "chat/generation_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "base/printable.h"
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
  return {ErrorCode::kInvalidArgument, fmt::format("invalid {} value [{}]", type, escaped(text))};
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

Status check_bool(GenerationOptions&, const std::string& text) {
  if (text != "true" && text != "false" && text != "1" && text != "0") return invalid("bool", text);
  return {};
}

Status check_float(GenerationOptions&, const std::string& text) {
  if (!parse_number<float>(text)) return invalid("float", text);
  return {};
}

constexpr double kMost = std::numeric_limits<int32_t>::max();

struct Setter {
  std::string_view name, other_name;
  Status (*set)(GenerationOptions&, const std::string&);
  double low, high;  // of a number; the sampler's own ranges (validate) are these too
};

constexpr Setter kSetters[] = {
    {"temperature", "temp", set_float<&SamplingParams::temperature>, 0, 100},
    {"top_k", "", set_int<&SamplingParams::top_k>, -1, kMost},
    {"top_p", "", set_float<&SamplingParams::top_p>, 0, 1},
    {"min_p", "", set_float<&SamplingParams::min_p>, 0, 1},
    {"typical_p", "typical", set_float<&SamplingParams::typical_p>, 0, 1},
    {"repeat_penalty", "repetition_penalty", set_float<&SamplingParams::repetition_penalty>, 0.01f, 100},
    {"presence_penalty", "", set_float<&SamplingParams::presence_penalty>, -2, 2},
    {"frequency_penalty", "", set_float<&SamplingParams::frequency_penalty>, -2, 2},
    {"repeat_last_n", "", set_int<&SamplingParams::repeat_last_n>, -1, kMost},
    {"seed", "", set_seed, static_cast<double>(std::numeric_limits<int64_t>::min()),
     static_cast<double>(std::numeric_limits<int64_t>::max())},
    {"num_predict", "max_tokens", set_num_predict, -2, kMost},
    {"min_tokens", "", set_int<&SamplingParams::min_tokens>, 0, kMost},
    {"num_ctx", "ctx_size", set_context, 0, 1 << 20},
    {"logit_bias", "", set_logit_bias, 0, 0},
    {"ignore_eos", "", set_ignore_eos, 0, 0},
};

// Names that Ollama's `/set parameter` and Modelfiles know, and that tune what Carat does not have.
constexpr Setter kWithoutEffect[] = {
    {"num_keep", "", check_int, 0, 0},          {"num_batch", "", check_int, 0, 0},
    {"num_gpu", "", check_int, 0, 0},           {"main_gpu", "", check_int, 0, 0},
    {"num_thread", "", check_int, 0, 0},        {"use_mmap", "", check_bool, 0, 0},
    {"use_mlock", "", check_bool, 0, 0},        {"low_vram", "", check_bool, 0, 0},
    {"f16_kv", "", check_bool, 0, 0},           {"vocab_only", "", check_bool, 0, 0},
    {"logits_all", "", check_bool, 0, 0},       {"numa", "", check_bool, 0, 0},
    {"penalize_newline", "", check_bool, 0, 0}, {"mirostat", "", check_int, 0, 0},
    {"mirostat_tau", "", check_float, 0, 0},    {"mirostat_eta", "", check_float, 0, 0},
    {"tfs_z", "", check_float, 0, 0},           {"draft_num_predict", "", check_int, 0, 0},
};

const Setter* find_setter(std::string_view name) {
  for (const std::span<const Setter> table :
       {std::span<const Setter>(kSetters), std::span<const Setter>(kWithoutEffect)}) {
    for (const Setter& setter : table) {
      if (name == setter.name || (!setter.other_name.empty() && name == setter.other_name)) return &setter;
    }
  }
  return nullptr;
}

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
  const Setter* setter = find_setter(name);
  if (setter == nullptr) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("unknown parameter '{}'", escaped(name))};
  }
  if (values.empty()) return Error{ErrorCode::kInvalidArgument, fmt::format("{} needs a value", name)};
  for (const std::string& value : values) {
    CARAT_CHECK(setter->set(options, value));
    if (setter->low == setter->high) continue;
    const auto number = parse_number<double>(value);
    if (!number || !(*number >= setter->low && *number <= setter->high)) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("{} is {}, expected {}", name, escaped(value), generation_option_range(name))};
    }
  }
  return {};
}

bool has_effect(std::string_view name) {
  return std::none_of(std::begin(kWithoutEffect), std::end(kWithoutEffect),
                      [&](const Setter& setter) { return setter.name == name; });
}

std::string generation_option_range(std::string_view name) {
  const Setter* setter = find_setter(name);
  if (setter == nullptr || setter->low == setter->high) return {};
  if (setter->set == set_seed) return "a whole number of 64 bits";
  const auto low = fmt::format("{:g}", static_cast<float>(setter->low));
  return setter->high == kMost ? fmt::format("{} to {}", low, std::numeric_limits<int32_t>::max())
                               : fmt::format("{} to {:.8g}", low, setter->high);
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
