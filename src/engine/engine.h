// The synchronous heart: requests in, steps of a backend, events out. It owns page numbers, the order of work and
// stopping; a server wraps it in a thread. Not thread-safe. The life of a request:
//   submit (checked) -> waiting -> admitted (prefix cache, pages) -> prompt in chunks -> a token a step -> finish event
// and of a step: plan -> submit -> publish. The next step is planned and submitted before the one in flight is
// published: a sampled id goes from step to step through its slot, without visiting here.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "engine/kv_pages.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "model/config.h"

namespace carat {

struct EngineOptions {
  int32_t context = 4096;        // positions of a sequence, prompt and answer; at most the model's
  int32_t max_rows = 256;        // rows of a step: the prefill chunk
  int32_t beside_rows = 0;       // of a step while several sequences run, whose tokens wait for it; 0: as many
  int32_t max_sequences = 1;     // that run at once; more requests wait
  int32_t whole_contexts = 0;    // that there are pages for: who runs at once shares them, or is preempted; 0: for all
  int32_t max_logits_rows = 32;  // rows of logits of a step (1 MiB each); raised to max_sequences
  int32_t cache_pages = -1;      // pages that the prefix cache may have beyond; -1: a context, four windows at least
  int32_t global_pages = 0;      // all pages of global layers; 0: enough for the whole contexts
  int32_t local_pages = 0;       // the same of sliding layers
  int32_t steps_in_flight = 2;   // 1: each step is published before the next is planned
};

class Engine {
 public:
  // The options as create() takes them: defaults worked out, ranges checked. Errors: kInvalidArgument.
  static Result<EngineOptions> checked(const ModelConfig& config, const EngineOptions& options);
  // The pages that such an engine reserves.
  static KvPlan plan(const ModelConfig& config, const EngineOptions& options);

  // Reserves the KV cache. The backend must outlive the engine. Errors: kInvalidArgument, kOutOfMemory.
  static Result<std::unique_ptr<Engine>> create(Backend& backend, const ModelConfig& config,
                                                const EngineOptions& options);
  ~Engine();

  // Errors: kTooLong, naming both lengths; kInvalidArgument for an empty prompt, an id outside the vocabulary, a
  // parameter or a picture out of range.
  Result<RequestId> submit(Request request);

  // The request's last event (kCancelled) comes with the next step. False if it is not running.
  bool cancel(RequestId id);

  // Submits a step and publishes the one before. False when nothing was left to do: `while (engine.step(events)) ...`.
  bool step(std::vector<Event>& events);

  // Forgets what no running request uses.
  void clear_cache() { cache_.clear(); }

  const EngineOptions& options() const { return options_; }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }
  int32_t waiting() const { return static_cast<int32_t>(waiting_.size()); }
  int32_t free_global_pages() const { return global_pool_.free(); }
  int32_t free_local_pages() const { return local_pool_.free(); }
  CacheStats cache_stats() const { return cache_.stats(); }
  uint64_t preemptions() const { return preemptions_; }

 private:
  using SequencePtr = std::shared_ptr<Sequence>;

  // What one step in flight is about. The vectors hold what the step's spans point to.
  struct Flight {
    struct Part {
      SequencePtr sequence;
      int32_t rows = 0;
      int32_t past = 0;
      bool samples = false;
      std::vector<int32_t> observed, hidden;  // positions whose logits, hidden states are observed
      std::vector<int32_t> global_pages, ring;
    };
    Backend::Ticket ticket = 0;
    std::vector<Part> parts;
    std::vector<Row> rows;
    std::vector<SeqRows> seqs;
    std::vector<Output> outputs;
    std::vector<float> embeddings;
    std::vector<PageCopy> copies;
    std::deque<std::vector<int32_t>> histories;
    void clear();
  };

  Engine(Backend& backend, const ModelConfig& config, const EngineOptions& options, const KvPlan& plan);

  Status check(const Request& request) const;
  bool ends_by_length(const Sequence& sequence) const;

  void admit_waiting();
  bool admit(const SequencePtr& sequence);
  void begin(Sequence& sequence, const PrefixCache::Hit& hit);
  PendingRows pending_of(const Sequence& sequence) const;
  bool submit_next(std::vector<Event>& events);
  bool get_pages(Sequence& sequence, int32_t until);
  void let_window_go(Sequence& sequence);
  bool preempt_youngest(const Sequence& but);
  void preempt(const SequencePtr& sequence);
  void lay_out(Flight& flight, const SequencePtr& sequence, int32_t rows);
  void add_outputs(Flight& flight, Flight::Part& part, int32_t first_row);
  SampleSpec sample_spec(Flight& flight, const Sequence& sequence) const;

  void publish(std::vector<Event>& events);
  Status observe(const Flight::Part& part, const StepResult& result, size_t& logits, size_t& hidden) const;
  void take_sample(const SequencePtr& sequence, Sampled sampled, std::vector<Event>& events);
  bool add_token(const SequencePtr& sequence, Event event, std::vector<Event>& events);
  void constrain(const SequencePtr& sequence, std::vector<Event>& events);
  Status say_what_may_follow(Sequence& sequence) const;
  void store_blocks(Sequence& sequence);
  void finish(const SequencePtr& sequence, FinishReason reason, Event event, std::vector<Event>& events);
  void fail(const SequencePtr& sequence, Error error, std::vector<Event>& events);
  void release(Sequence& sequence);
  bool in_flight(const Sequence& sequence) const;

  Backend& backend_;
  ModelConfig config_;
  EngineOptions options_;
  int32_t ring_pages_;
  PagePool global_pool_, local_pool_;
  PrefixCache cache_;
  RequestId next_id_ = 1;
  uint64_t preemptions_ = 0;
  std::deque<SequencePtr> waiting_;   // by priority, then in the order they came
  std::vector<SequencePtr> running_;  // in the order they were admitted
  std::vector<int32_t> free_slots_;
  std::vector<Event> told_later_;  // of requests that were cancelled, for the next step
  std::vector<PageCopy> copies_;   // for the next step
  std::array<Flight, 2> flights_;
  size_t oldest_ = 0, in_flight_ = 0;  // flights_[oldest_] is published next
};

}  // namespace carat
