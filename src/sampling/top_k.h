// The k largest of a quarter of a million logits, without sorting them: a scan against a rising threshold.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace carat {

struct Candidate {
  int32_t id = 0;
  float logit = 0;
};

// The one order of candidates: more probable first, the lower id first among equals.
inline bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// The most probable token, the lowest id among equals; -1 when every logit is NaN or -inf.
int32_t argmax(std::span<const float> logits);

// out: the min(k, those above -inf) best candidates in that order. NaN and -inf are never chosen.
void select_top(std::span<const float> logits, size_t k, std::vector<Candidate>& out);

}  // namespace carat
