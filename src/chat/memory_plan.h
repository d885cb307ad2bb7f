// How much memory a model will take, worked out before any of it is loaded, and what is given up where that is more
// than there is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "engine/engine.h"
#include "model/config.h"

namespace carat::chat {

struct MemoryPlan {
  EngineOptions engine;  // what fits
  uint64_t weights = 0, kv_cache = 0, activations = 0, logits = 0;
  uint64_t program = 0;               // the program itself, its tokenizer and threads
  std::vector<std::string> given_up;  // in words, where less fits than was wanted

  uint64_t total() const { return weights + kv_cache + activations + logits + program; }
  // "weights 247 MB + KV cache 36 MB + ...".
  std::string text() const;
};

struct MemoryBudget {
  uint64_t bytes = 0;
  std::string whose;  // "--memory", "this machine"
};

// "2G", "512MiB", "1500M", "800000k" or bytes. Errors: kInvalidArgument.
Result<uint64_t> parse_bytes(const std::string& text);

// --memory where it was given, but never more than is free where the backend computes: on the device, or on the machine,
// within this process's cgroup. Errors: those of parse_bytes and of opening the device.
Result<MemoryBudget> memory_budget(const std::string& flag, const BackendOptions& backend);

// The rows of a step: those asked for, or, where that is 0, what suits the backend.
struct StepRows {
  int32_t most = 0;    // that a sequence alone has: more than others beside it would wait for, where memory is plenty
  int32_t beside = 0;  // where there are several
  MemoryNeed need;     // with as many
};
// need: what so many rows of a step need (memory_need). Errors: its own.
Result<StepRows> plan_rows(const Concurrency& usual, int32_t asked, const MemoryBudget& budget,
                           const std::function<Result<MemoryNeed>(int32_t rows)>& need);

// What is wanted, or less: first the prefix cache's pages go, then rows of logits, then (of what many sequences share)
// whole contexts and all sequences but eight, then sequences, then (from `least_context` on) the context. Errors: kOutOfMemory, saying what was asked, what there is and what would fit.
Result<MemoryPlan> plan_memory(const MemoryNeed& need, const ModelConfig& config, const EngineOptions& wanted,
                               int32_t least_context, const MemoryBudget& budget);

}  // namespace carat::chat
