// One request on its way: its tokens, how many of them have been computed, and in which pages their keys lie.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "engine/prefix_cache.h"
#include "engine/request.h"

namespace carat {

struct Sequence {
  RequestId id = 0;
  Request request;  // its prompt moves into `tokens`
  uint64_t seed = 0;
  std::vector<int32_t> end_ids;                    // the tokens that end this answer
  std::vector<std::pair<int32_t, int32_t>> whole;  // its pictures: ranges that are never cut

  std::vector<int32_t> tokens;    // prompt and answer, as far as they are known
  std::vector<uint32_t> allowed;  // what may follow the known tokens, a bit each; empty: everything
  bool follows_rules = false;     // `allowed` changes with every token: what follows it waits for it
  int32_t sampling = 0;           // tokens that are being sampled: they follow, and lie in the slot
  int32_t planned = 0;            // positions that are computed, or being computed
  int32_t computed = 0;           // positions whose step has ended
  int32_t slot = -1;              // where its samples stay for the next step
  int32_t observe_next = 0;       // the first position whose logits are still to be observed
  int32_t hidden_next = 0;        // the same of hidden states
  bool ended = false;             // its last event is out; steps in flight may still mention it

  // Pages by block of P positions. Those of the first path.size() blocks are the prefix cache's, the others its own.
  std::vector<CacheBlock*> path;
  std::vector<int32_t> global_pages;
  std::vector<int32_t> local_pages;  // -1 before local_begin: out of the window
  int32_t local_begin = 0;

  Usage usage;
  std::chrono::steady_clock::time_point admitted, prompt_done;
  bool was_admitted = false;  // before: it was preempted, and computes again what it had

  int32_t known() const { return static_cast<int32_t>(tokens.size()); }
  int32_t pending() const { return known() + sampling - planned; }
  bool reads_prompt() const { return computed < usage.prompt_tokens; }
  CacheKey cache_key(int32_t position) const;
};

}  // namespace carat
