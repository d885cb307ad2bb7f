// From token ids to the text that an API sends: one Generation follows one request of the engine, detokenizes, stops at
// stop texts, and hands pieces to a sink. All of it happens on the network thread, once per engine step for everybody.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/engine_thread.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/stop_matcher.h"
#include "tokenizer/tokenizer.h"

namespace carat::server {

struct GenerationRequest {
  Request request;
  std::vector<std::string> stops;
  bool include_stop = false;        // the stop text is part of the answer
  bool trim_leading_space = false;  // of templates that end in "Answer:"
  bool special_tokens = false;      // control tokens are written as their names
  std::string client;
  int32_t priority = 0;
};

struct TokenInfo {
  int32_t id = 0;
  float logprob = 0;              // where the request asked for it
  std::vector<TokenLogprob> top;  // likewise
};

struct GenerationEnd {
  FinishReason finish = FinishReason::kNone;
  std::optional<std::string> stop_text;  // which one ended it
  std::optional<int32_t> stop_id;        // of the request's stop_ids; not the model's own
  std::optional<Error> error;            // of finish == kError
  Usage usage;                           // generated_tokens: those that count for the answer
  double queue_seconds = 0;
};

class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  // Text that has become certain, maybe none, and the tokens that came since the last call. `last`: on_end follows at
  // once. Network thread.
  virtual void on_text(std::string_view text, std::span<const TokenInfo> tokens, bool last) = 0;
  // Once, after everything. Network thread.
  virtual void on_end(const GenerationEnd& end) = 0;
};

// The generations of one loaded model.
class Generations {
 public:
  // Each runs on the network thread.
  struct Observer {
    std::function<void(const GenerationEnd& end, double first_token_seconds, double seconds)> on_end;
    std::function<void(double seconds)> on_token_gap;
  };

  // `post` runs a task on the network thread. Engine and tokenizer must outlive this; so must everybody who starts.
  Generations(Engine& engine, const Tokenizer& tokenizer, std::vector<int32_t> eos_ids, int32_t max_waiting,
              std::function<void(std::function<void()>)> post, Observer observer);
  ~Generations();

  // The id, or none if the queue is full. Any thread; the sink is kept until its end. `keep` lives as long.
  std::optional<WorkId> start(GenerationRequest request, std::shared_ptr<GenerationSink> sink,
                              std::shared_ptr<const void> keep);
  void cancel(WorkId id);  // any thread
  void abandon();          // forgets them all, telling nobody: the network has stopped
  EngineThread::Load load() const { return thread_.load(); }

 private:
  struct Active;
  struct Shared;  // what tasks on the network thread may still touch when this has gone

  std::shared_ptr<Shared> shared_;
  EngineThread thread_;
};

}  // namespace carat::server
