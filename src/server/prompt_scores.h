// The log-probabilities of a prompt's own tokens: what `echo` and `prompt_logprobs` ask for, and evaluation harnesses
// live on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/request.h"

namespace carat::server {

struct PromptScore {
  float logprob = 0;
  int32_t rank = 1;               // 1: the most probable
  std::vector<TokenLogprob> top;  // the most probable ones
};

// Filled on the engine's thread while the prompt is computed, complete with the first token.
struct PromptScores {
  std::vector<int32_t> prompt;
  int32_t top = 0;
  std::vector<PromptScore> of;  // of[i]: of prompt[i + 1], given what is before it
};

// Makes the request report its prompt's scores.
void observe_prompt(Request& request, std::shared_ptr<PromptScores> scores);

}  // namespace carat::server
