// What shapes an answer, set by name: the same names and checks for flags, for a model's stored parameters and for the
// REPL's `/set parameter`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "chat/open_model.h"
#include "model/model_file.h"
#include "sampling/sampling_params.h"

namespace carat::chat {

struct GenerationOptions {
  SamplingParams sampling;
  std::vector<std::string> stops;  // texts that end an answer
  int32_t context = 0;             // num_ctx; 0: chosen from the prompt
};

// Gemma's recommended values, overridden by what the model's makers wrote in its file.
GenerationOptions default_generation(const SamplingDefaults& defaults);

// Sets an option by Ollama's name (temperature, num_predict, repeat_penalty, ...) or vLLM's (max_tokens, ...); `stop`
// takes several values and replaces what was there. Errors: kInvalidArgument with Ollama's words: "unknown parameter
// 'x'", "invalid int value [x]"; a number out of its range.
Status set_generation_option(GenerationOptions& options, std::string_view name, std::span<const std::string> values);

// False for options that only tune Ollama's runner (num_gpu, use_mmap, ...): they are checked and ignored.
bool has_effect(std::string_view name);

// "0 to 1"; empty where it is no number.
std::string generation_option_range(std::string_view name);

// Options by name with their values as they were typed, in that order: of a command line, applied last, over defaults
// and the model's own.
using GivenOptions = std::vector<std::pair<std::string, std::vector<std::string>>>;

// Errors: those of set_generation_option, after the option's name.
Status apply(const GivenOptions& given, GenerationOptions& options);

// What shapes this model's answers before anybody sets anything at a prompt: defaults, then the model's own, then what
// was given. Errors: kInvalidArgument, naming the parameter that is unknown or out of range.
Result<GenerationOptions> generation_of(const OpenModel& model, const GivenOptions& given);

}  // namespace carat::chat
