// Range checks of what users ask for. NaN fails every comparison that is written as "inside", so it is refused
// everywhere.
#include "sampling/sampling_params.h"

#include <fmt/format.h>

#include <limits>

namespace carat {
namespace {

Status check_range(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return Error{ErrorCode::kInvalidArgument, fmt::format("{} is {}, expected {} to {}", name, value, low, high)};
}

Status check_least(const char* name, int64_t value, int64_t low) {
  if (value >= low) return {};
  return Error{ErrorCode::kInvalidArgument, fmt::format("{} is {}, expected {} or more", name, value, low)};
}

Status check_id(const char* name, int32_t id, int32_t vocabulary) {
  if (id >= 0 && id < vocabulary) return {};
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("{} names token {}, expected ids from 0 to {}", name, id, vocabulary - 1)};
}

}  // namespace

Status validate(const SamplingParams& params, int32_t vocabulary) {
  CARAT_CHECK(check_range("temperature", params.temperature, 0, 100));
  CARAT_CHECK(check_least("top_k", params.top_k, -1));
  CARAT_CHECK(check_range("top_p", params.top_p, 0, 1));
  CARAT_CHECK(check_range("min_p", params.min_p, 0, 1));
  CARAT_CHECK(check_range("typical_p", params.typical_p, 0, 1));
  CARAT_CHECK(check_range("repetition_penalty", params.repetition_penalty, 0.01f, 100));
  CARAT_CHECK(check_range("presence_penalty", params.presence_penalty, -2, 2));
  CARAT_CHECK(check_range("frequency_penalty", params.frequency_penalty, -2, 2));
  CARAT_CHECK(check_least("repeat_last_n", params.repeat_last_n, -1));
  for (const auto& [id, bias] : params.logit_bias) {
    CARAT_CHECK(check_id("logit_bias", id, vocabulary));
    CARAT_CHECK(check_range("a logit_bias", bias, -100, 100));
  }
  for (int32_t id : params.stop_ids) CARAT_CHECK(check_id("stop_ids", id, vocabulary));
  CARAT_CHECK(check_least("max_tokens", params.max_tokens, -1));
  const int32_t most = params.max_tokens < 0 ? std::numeric_limits<int32_t>::max() : params.max_tokens;
  CARAT_CHECK(check_range("min_tokens", params.min_tokens, 0, most));
  CARAT_CHECK(check_range("top_logprobs", params.top_logprobs, 0, kMaxTopLogprobs));
  return {};
}

}  // namespace carat
