#include "server/generation.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace carat::server {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

// Drops whitespace until the first other text has passed.
std::string_view without_leading_space(std::string_view text, bool& active) {
  if (!active) return text;
  const size_t first = text.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) return {};
  active = false;
  return text.substr(first);
}

std::atomic<uint64_t> next_work_id{1};  // NOLINT: one sequence for all models of the process

}  // namespace

struct Generations::Active {
  Active(const Tokenizer& tokenizer, GenerationRequest& asked, std::shared_ptr<GenerationSink> to,
         std::shared_ptr<const void> kept)
      : sink(std::move(to)),
        keep(std::move(kept)),
        detokenizer(tokenizer, asked.special_tokens),
        matcher(asked.stops),
        stops(std::move(asked.stops)),
        stop_ids(asked.request.sampling.stop_ids),
        include_stop(asked.include_stop),
        special_tokens(asked.special_tokens),
        trim(asked.trim_leading_space) {}

  std::shared_ptr<GenerationSink> sink;
  std::shared_ptr<const void> keep;
  Detokenizer detokenizer;
  StopMatcher matcher;
  std::vector<std::string> stops;
  std::vector<int32_t> stop_ids;
  bool include_stop, special_tokens, trim;
  std::vector<TokenInfo> tokens;  // since the sink was last told
  GenerationEnd end;
  Clock::time_point began = Clock::now(), last_token;
  double first_token_seconds = -1;
};

struct Generations::Shared {
  const Tokenizer* tokenizer;
  std::vector<int32_t> eos_ids;
  Observer observer;
  std::mutex mutex;  // of the map; an Active itself is the network thread's once it is in there
  std::unordered_map<WorkId, std::unique_ptr<Active>> active;
  EngineThread* thread = nullptr;  // null once it is going

  void take(std::vector<WorkEvent>& events);
  // True: it has ended.
  bool feed(Active& one, WorkEvent& event, bool& cancel);
};

Generations::Generations(Engine& engine, const Tokenizer& tokenizer, std::vector<int32_t> eos_ids, int32_t max_waiting,
                         std::function<void(std::function<void()>)> post, Observer observer)
    : shared_(std::make_shared<Shared>()),
      thread_(engine, max_waiting, [shared = shared_, post = std::move(post)](std::vector<WorkEvent> events) {
        post([shared, events = std::make_shared<std::vector<WorkEvent>>(std::move(events))] { shared->take(*events); });
      }) {
  shared_->tokenizer = &tokenizer;
  shared_->eos_ids = std::move(eos_ids);
  shared_->observer = std::move(observer);
  const std::lock_guard lock(shared_->mutex);
  shared_->thread = &thread_;
}

Generations::~Generations() {
  const std::lock_guard lock(shared_->mutex);
  shared_->thread = nullptr;
}

std::optional<WorkId> Generations::start(GenerationRequest request, std::shared_ptr<GenerationSink> sink,
                                         std::shared_ptr<const void> keep) {
  const WorkId id = next_work_id++;
  auto active = std::make_unique<Active>(*shared_->tokenizer, request, std::move(sink), std::move(keep));
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->active.emplace(id, std::move(active));
  }
  if (thread_.submit({id, std::move(request.request), std::move(request.client), request.priority})) return id;
  const std::lock_guard lock(shared_->mutex);
  shared_->active.erase(id);
  return std::nullopt;
}

void Generations::abandon() {
  std::unordered_map<WorkId, std::unique_ptr<Active>> gone;
  {
    const std::lock_guard lock(shared_->mutex);
    gone.swap(shared_->active);
  }
  for (const auto& [id, active] : gone) thread_.cancel(id);
}

void Generations::cancel(WorkId id) { thread_.cancel(id); }

void Generations::Shared::take(std::vector<WorkEvent>& events) {
  for (WorkEvent& event : events) {
    Active* one = nullptr;
    {
      const std::lock_guard lock(mutex);
      const auto it = active.find(event.id);
      if (it == active.end()) continue;  // a stop text ended it before
      one = it->second.get();
    }
    bool cancel = false;
    if (!feed(*one, event, cancel)) continue;
    std::unique_ptr<Active> ended;
    {
      const std::lock_guard lock(mutex);
      const auto it = active.find(event.id);
      ended = std::move(it->second);
      active.erase(it);
      if (cancel && thread != nullptr) thread->cancel(event.id);
    }
    if (observer.on_end) observer.on_end(ended->end, ended->first_token_seconds, seconds_since(ended->began));
    ended->sink->on_end(ended->end);
  }
}

bool Generations::Shared::feed(Active& one, WorkEvent& told, bool& cancel) {
  Event& event = told.event;
  GenerationEnd& end = one.end;
  end.usage = event.usage;
  end.queue_seconds += told.queue_seconds;
  std::string text;
  const auto pass = [&](std::string_view piece) { text += without_leading_space(piece, one.trim); };
  if (event.token >= 0) {
    const auto now = Clock::now();
    if (one.first_token_seconds < 0) {
      one.first_token_seconds = std::chrono::duration<double>(now - one.began).count();
    } else if (observer.on_token_gap) {
      observer.on_token_gap(std::chrono::duration<double>(now - one.last_token).count());
    }
    one.last_token = now;
    one.tokens.push_back({event.token, event.logprob, std::move(event.top)});
    const bool is_end = event.finish == FinishReason::kStop;
    if (!is_end || one.special_tokens) {
      const StopMatcher::Output out = one.matcher.push(one.detokenizer.push(event.token));
      pass(out.text);
      if (out.stop) {
        end.stop_text = one.stops[*out.stop];
        if (one.include_stop) pass(*end.stop_text);
      }
    }
    if (is_end && std::find(one.stop_ids.begin(), one.stop_ids.end(), event.token) != one.stop_ids.end()) {
      end.stop_id = event.token;
    }
  }
  end.finish = event.finish;
  if (one.matcher.stopped()) {
    cancel = event.finish == FinishReason::kNone;
    end.finish = FinishReason::kStop;
  } else if (event.finish != FinishReason::kNone) {
    const StopMatcher::Output out = one.matcher.push(one.detokenizer.finish());
    pass(out.text);
    if (out.stop) {
      end.stop_text = one.stops[*out.stop];
      end.finish = FinishReason::kStop;
    } else {
      pass(one.matcher.finish());
    }
  }
  if (end.finish == FinishReason::kError) {
    end.error = event.error ? std::move(*event.error) : Error{ErrorCode::kCorruptFile, "the model computed no answer"};
  }
  if (event.token >= 0 || !text.empty()) {
    one.sink->on_text(text, one.tokens, end.finish != FinishReason::kNone);
    one.tokens.clear();
  }
  return end.finish != FinishReason::kNone;
}

}  // namespace carat::server
