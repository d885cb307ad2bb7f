#include "server/prompt_scores.h"

#include <algorithm>

#include "sampling/softmax.h"

namespace carat::server {

void observe_prompt(Request& request, std::shared_ptr<PromptScores> scores) {
  scores->prompt = request.prompt;
  scores->of.resize(request.prompt.size() - 1);
  request.observe_from = 0;
  request.on_logits = [scores = std::move(scores)](int32_t position, std::span<const float> logits) {
    if (position < 0 || static_cast<size_t>(position) >= scores->of.size()) return;
    const auto id = static_cast<size_t>(scores->prompt[static_cast<size_t>(position) + 1]);
    PromptScore& score = scores->of[static_cast<size_t>(position)];
    const float logit = logits[id];
    score.logprob = static_cast<float>(static_cast<double>(logit) - log_sum_exp(logits));
    score.rank =
        1 + static_cast<int32_t>(std::count_if(logits.begin(), logits.end(), [&](float l) { return l > logit; }));
    if (scores->top > 0) score.top = top_logprobs(logits, scores->top);
  };
}

}  // namespace carat::server
