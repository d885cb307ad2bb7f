// Which tokens a request lets come at all, beside its grammar: only some ids, and never the words of a list.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace carat {

struct TokenRules {
  std::vector<int32_t> only;                 // empty: all
  std::vector<std::vector<int32_t>> barred;  // runs of ids that an answer never holds

  bool empty() const { return only.empty() && barred.empty(); }
  // What may come next depends on what came: a run is longer than a token.
  bool depend_on_answer() const;
};

// Errors: kInvalidArgument, an id outside the vocabulary or an empty run.
Status check(const TokenRules& rules, int32_t vocabulary);

// Clears the bits (id % 32 of word id / 32) of what may not follow this answer.
void apply(const TokenRules& rules, std::span<const int32_t> answer, std::span<uint32_t> allowed);

// Every id's bit, those past the vocabulary 0.
void allow_all(int32_t vocabulary, std::vector<uint32_t>& allowed);

}  // namespace carat
