// One sequence: its tokens, how many of them lie in the KV cache, and where. Between requests of a session it rests,
// with its pages, until the session goes on or its room is needed.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "engine/kv_pages.h"
#include "engine/request.h"

namespace carat {

struct Sequence {
  RequestId id = 0;
  Request request;  // its prompt moves into `tokens` on admission
  uint64_t seed = 0;
  std::vector<int32_t> end_ids;  // the tokens that end this answer

  std::vector<int32_t> tokens;  // prompt and answer
  int32_t cached = 0;           // tokens [0, cached) have their keys and values in the pages
  int32_t written = 0;          // positions stored since the ring was empty: cached, or more after a rollback
  PageTables pages;

  Usage usage;
  std::chrono::steady_clock::time_point admitted, prompt_done;
  uint64_t last_used = 0;  // orders resting sequences: the smallest goes first

  int32_t pending() const { return static_cast<int32_t>(tokens.size()) - cached; }
};

}  // namespace carat
