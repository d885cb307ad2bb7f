// What bias, penalties and stop rules do to single logits before anything is chosen. Read by the host's compiler and by the
// device's: a device changes rows where they lie.
#pragma once

#if !defined(__CUDACC_RTC__)
#include <cstdint>
#endif

namespace carat {

struct Adjustment {
  int32_t id;
  float bias;        // kBias: added first
  float repetition;  // kRepeated: divides what is positive then, multiplies what is not
  float penalty;     // kPenalty: subtracted then; infinity: it cannot be chosen
  uint32_t what;     // of:
  static constexpr uint32_t kBias = 1, kRepeated = 2, kPenalty = 4;
};

constexpr float adjusted_logit(const Adjustment& a, float logit) {
  if ((a.what & Adjustment::kBias) != 0) logit += a.bias;
  if ((a.what & Adjustment::kRepeated) != 0) logit = logit > 0 ? logit / a.repetition : logit * a.repetition;
  if ((a.what & Adjustment::kPenalty) != 0) logit -= a.penalty;
  return logit;
}

}  // namespace carat
