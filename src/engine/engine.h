// The synchronous heart: requests in, steps of a backend, events out. It owns page numbers, the order of work, sampling
// and stopping; a server wraps it in a thread. Not thread-safe. The life of a request:
//   submit (checked) -> waiting -> admitted (pages) -> prompt in chunks -> a token a step -> finish event -> pages
//   back, or resting with its session.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "engine/kv_pages.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "model/config.h"

namespace carat {

struct EngineOptions {
  int32_t context = 4096;        // positions of a sequence, prompt and answer; at most the model's
  int32_t max_rows = 256;        // rows of a step: the prefill chunk
  int32_t max_sequences = 1;     // running and resting sequences; more requests wait
  int32_t max_logits_rows = 32;  // rows of logits of a step (1 MiB each); raised to max_sequences
};

class Engine {
 public:
  // Reserves the KV cache. The backend must outlive the engine. Errors: kInvalidArgument, kOutOfMemory.
  static Result<std::unique_ptr<Engine>> create(Backend& backend, const ModelConfig& config,
                                                const EngineOptions& options);

  // Errors: kTooLong, naming both lengths; kInvalidArgument for an empty prompt, an id outside the vocabulary, a
  // parameter out of range, or a session whose previous request still runs.
  Result<RequestId> submit(Request request);

  // The request's last event (kCancelled) comes with the next step. False if it is not running.
  bool cancel(RequestId id);

  // Computes one step and appends what happened. False when nothing was left to do: `while (engine.step(events)) ...`.
  bool step(std::vector<Event>& events);

  // Forgets a resting session and gives its pages back.
  void drop_session(SessionId session);

  const EngineOptions& options() const { return options_; }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }
  int32_t free_global_pages() const { return global_pool_.free(); }
  int32_t free_local_pages() const { return local_pool_.free(); }

 private:
  using SequencePtr = std::unique_ptr<Sequence>;

  Engine(Backend& backend, const ModelConfig& config, const EngineOptions& options, const KvPlan& plan);

  Status check(const Request& request) const;
  bool session_is_busy(SessionId session) const;
  void admit_waiting();
  SequencePtr take_resting(SessionId session);
  bool make_room();
  void keep_common_prefix(Sequence& sequence, std::span<const int32_t> prompt);
  PendingRows pending_of(const Sequence& sequence) const;
  void compute(std::span<const PlannedRows> plan, std::vector<Event>& events);
  void lay_out_rows(std::span<const PlannedRows> plan);
  void advance(SequencePtr& sequence, std::span<const float> logits, std::vector<Event>& events);
  void finish(SequencePtr& sequence, FinishReason reason, Event event, std::vector<Event>& events);
  void release_pages(PageTables& pages);

  Backend& backend_;
  ModelConfig config_;
  EngineOptions options_;
  int32_t ring_pages_;
  PagePool global_pool_, local_pool_;
  Sampler sampler_;
  RequestId next_id_ = 1;
  uint64_t clock_ = 0;  // orders the ends of requests
  std::deque<SequencePtr> waiting_;
  std::vector<SequencePtr> running_;  // in the order they came; none is null between steps
  std::unordered_map<SessionId, SequencePtr> resting_;
  std::vector<Event> cancelled_;  // their last events, for the next step

  // The arrays of a step, kept to save allocations.
  std::vector<int32_t> row_tokens_, logits_rows_;
  std::vector<SeqRows> row_spans_;
};

}  // namespace carat
