#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/checked.h"

namespace carat {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

Error invalid(std::string message) { return Error{ErrorCode::kInvalidArgument, std::move(message)}; }

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(Backend& backend, const ModelConfig& config,
                                               const EngineOptions& options) {
  constexpr int32_t kMostSequences = 4096, kMostRows = 16384;
  EngineOptions checked = options;
  if (options.context < 1 || options.context > config.context_length) {
    return invalid(
        fmt::format("a context of {} tokens, expected 1 to the model's {}", options.context, config.context_length));
  }
  if (options.max_sequences < 1 || options.max_sequences > kMostSequences) {
    return invalid(fmt::format("{} sequences, expected 1 to {}", options.max_sequences, kMostSequences));
  }
  if (options.max_rows < 1 || options.max_rows > kMostRows) {
    return invalid(fmt::format("a chunk of {} rows, expected 1 to {}", options.max_rows, kMostRows));
  }
  checked.max_rows = std::max(std::min(options.max_rows, options.context), options.max_sequences);
  checked.max_logits_rows = std::min(std::max(options.max_logits_rows, options.max_sequences), checked.max_rows);
  const KvPlan plan = plan_kv(config, {checked.context, checked.max_rows, checked.max_sequences});
  CARAT_CHECK(backend.reserve_kv(plan));
  return std::unique_ptr<Engine>(new Engine(backend, config, checked, plan));
}

Engine::Engine(Backend& backend, const ModelConfig& config, const EngineOptions& options, const KvPlan& plan)
    : backend_(backend),
      config_(config),
      options_(options),
      ring_pages_(plan.local_pages / options.max_sequences),
      global_pool_(plan.global_pages),
      local_pool_(plan.local_pages) {}

Status Engine::check(const Request& request) const {
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) return invalid("the prompt is empty");
  for (int32_t id : request.prompt) {
    if (id < 0 || id >= config_.vocabulary) {
      return invalid(fmt::format("the prompt holds token {}, expected ids from 0 to {}", id, config_.vocabulary - 1));
    }
  }
  CARAT_CHECK(validate(request.sampling, config_.vocabulary));
  const int64_t room = options_.context - (request.sampling.max_tokens == 0 ? 0 : 1);
  if (length > room) {
    return Error{ErrorCode::kTooLong, fmt::format("the prompt has {} tokens, and a context of {} has room for {}",
                                                  length, options_.context, room)};
  }
  if (request.observe_from < -1 || request.observe_from >= length) {
    return invalid(fmt::format("logits from position {} on, expected -1 to {}", request.observe_from, length - 1));
  }
  if (session_is_busy(request.session)) return invalid("the session's previous request has not ended");
  return {};
}

bool Engine::session_is_busy(SessionId session) const {
  if (session == kNoSession) return false;
  const auto has_session = [&](const SequencePtr& s) { return s->request.session == session; };
  return std::any_of(running_.begin(), running_.end(), has_session) ||
         std::any_of(waiting_.begin(), waiting_.end(), has_session);
}

Result<RequestId> Engine::submit(Request request) {
  CARAT_CHECK(check(request));
  auto sequence = std::make_unique<Sequence>();
  sequence->id = next_id_++;
  sequence->request = std::move(request);
  waiting_.push_back(std::move(sequence));
  return waiting_.back()->id;
}

bool Engine::cancel(RequestId id) {
  const auto has_id = [&](const SequencePtr& s) { return s->id == id; };
  Event event;
  event.request = id;
  if (const auto it = std::find_if(waiting_.begin(), waiting_.end(), has_id); it != waiting_.end()) {
    event.finish = FinishReason::kCancelled;
    event.usage.prompt_tokens = static_cast<int32_t>((*it)->request.prompt.size());
    cancelled_.push_back(std::move(event));
    waiting_.erase(it);
    return true;
  }
  const auto it = std::find_if(running_.begin(), running_.end(), has_id);
  if (it == running_.end()) return false;
  finish(*it, FinishReason::kCancelled, std::move(event), cancelled_);
  running_.erase(it);
  return true;
}

void Engine::drop_session(SessionId session) {
  if (SequencePtr sequence = take_resting(session)) release_pages(sequence->pages);
}

bool Engine::step(std::vector<Event>& events) {
  const bool anything_to_tell = !cancelled_.empty();
  std::move(cancelled_.begin(), cancelled_.end(), std::back_inserter(events));
  cancelled_.clear();

  admit_waiting();
  std::vector<PendingRows> pending;
  for (const SequencePtr& sequence : running_) pending.push_back(pending_of(*sequence));
  const std::vector<PlannedRows> plan = plan_step(pending, {options_.max_rows, options_.max_logits_rows});
  if (plan.empty()) return anything_to_tell;
  compute(plan, events);
  std::erase(running_, nullptr);
  return true;
}

void Engine::admit_waiting() {
  while (!waiting_.empty()) {
    SequencePtr& next = waiting_.front();
    SequencePtr resting = take_resting(next->request.session);
    if (resting) {
      next->tokens = std::move(resting->tokens);
      next->cached = resting->cached;
      next->written = resting->written;
      next->pages = std::move(resting->pages);
    } else {
      if (!make_room()) return;
      for (int32_t i = 0; i < ring_pages_; ++i) next->pages.local.push_back(local_pool_.take());
    }
    keep_common_prefix(*next, next->request.prompt);
    const SamplingParams& sampling = next->request.sampling;
    next->tokens = std::move(next->request.prompt);
    next->usage.prompt_tokens = static_cast<int32_t>(next->tokens.size());
    next->usage.reused_tokens = next->cached;
    next->seed = sampling.seed ? *sampling.seed : random_seed();
    next->end_ids = sampling.stop_ids;
    if (!sampling.ignore_eos) {
      next->end_ids.insert(next->end_ids.end(), config_.eos_ids.begin(), config_.eos_ids.end());
    }
    next->admitted = Clock::now();
    running_.push_back(std::move(next));
    waiting_.pop_front();
  }
}

Engine::SequencePtr Engine::take_resting(SessionId session) {
  const auto it = resting_.find(session);
  if (it == resting_.end()) return nullptr;
  SequencePtr sequence = std::move(it->second);
  resting_.erase(it);
  return sequence;
}

// Room for one more sequence, if need be by forgetting the session that has rested longest.
bool Engine::make_room() {
  if (running_.size() + resting_.size() < static_cast<size_t>(options_.max_sequences)) return true;
  if (resting_.empty()) return false;
  const auto oldest = std::min_element(resting_.begin(), resting_.end(), [](const auto& a, const auto& b) {
    return a.second->last_used < b.second->last_used;
  });
  drop_session(oldest->first);
  return true;
}

// Keeps of the KV cache what the prompt begins with. One token at least is left to compute, for its logits. Sliding
// layers can go back only as far as their ring still holds the window before; else everything is computed anew.
void Engine::keep_common_prefix(Sequence& sequence, std::span<const int32_t> prompt) {
  const Request& request = sequence.request;
  auto limit = std::min(sequence.cached, static_cast<int32_t>(prompt.size()) - 1);
  if (request.on_logits && request.observe_from >= 0) limit = std::min(limit, request.observe_from);
  int32_t common = 0;
  while (common < limit && prompt[static_cast<size_t>(common)] == sequence.tokens[static_cast<size_t>(common)])
    ++common;
  if (!ring_still_holds_window(common, sequence.written, ring_pages_, config_.window)) common = 0;

  sequence.cached = common;
  if (common == 0) sequence.written = 0;
  auto& pages = sequence.pages.global;
  while (static_cast<int32_t>(pages.size()) > div_ceil(common, kPageTokens)) {
    global_pool_.give(pages.back());
    pages.pop_back();
  }
}

PendingRows Engine::pending_of(const Sequence& sequence) const {
  const Request& request = sequence.request;
  const int32_t rows = sequence.pending();
  int32_t first_wanted = sequence.cached + rows - 1;
  if (request.on_logits && request.observe_from >= 0) {
    first_wanted = std::min(first_wanted, request.observe_from);
  } else if (!request.on_logits && request.sampling.max_tokens == 0) {
    first_wanted = sequence.cached + rows;
  }
  return {rows, std::max(0, first_wanted - sequence.cached)};
}

void Engine::compute(std::span<const PlannedRows> plan, std::vector<Event>& events) {
  lay_out_rows(plan);
  const std::span<const float> logits = backend_.wait(backend_.submit({row_tokens_, row_spans_, logits_rows_}));
  const auto vocabulary = static_cast<size_t>(config_.vocabulary);
  CARAT_ASSERT(logits.size() >= logits_rows_.size() * vocabulary);

  size_t next_row = 0;
  for (const PlannedRows& planned : plan) {
    SequencePtr& sequence = running_[static_cast<size_t>(planned.sequence)];
    const PendingRows pending = pending_of(*sequence);
    std::span<const float> row;
    for (int32_t i = pending.quiet; i < planned.rows; ++i) {
      row = logits.subspan(next_row++ * vocabulary, vocabulary);
      if (sequence->request.on_logits) sequence->request.on_logits(sequence->cached + i, row);
    }
    sequence->cached += planned.rows;
    sequence->written = std::max(sequence->written, sequence->cached);
    if (planned.rows == pending.rows) advance(sequence, row, events);
  }
}

void Engine::lay_out_rows(std::span<const PlannedRows> plan) {
  row_tokens_.clear();
  row_spans_.clear();
  logits_rows_.clear();
  for (const PlannedRows& planned : plan) {
    Sequence& sequence = *running_[static_cast<size_t>(planned.sequence)];
    const int32_t begin = static_cast<int32_t>(row_tokens_.size());
    const int32_t past = sequence.cached;
    while (static_cast<int32_t>(sequence.pages.global.size()) * kPageTokens < past + planned.rows) {
      sequence.pages.global.push_back(global_pool_.take());
    }
    for (int32_t i = pending_of(sequence).quiet; i < planned.rows; ++i) logits_rows_.push_back(begin + i);
    const auto first = sequence.tokens.begin() + past;
    row_tokens_.insert(row_tokens_.end(), first, first + planned.rows);
    row_spans_.push_back({begin, begin + planned.rows, past, sequence.pages.global, sequence.pages.local});
  }
}

// The whole sequence is computed; logits: [V] of its last token (empty when only the prompt was to be computed).
void Engine::advance(SequencePtr& sequence, std::span<const float> logits, std::vector<Event>& events) {
  Usage& usage = sequence->usage;
  const SamplingParams& sampling = sequence->request.sampling;
  Event event;
  event.request = sequence->id;
  if (usage.generated_tokens == 0) {
    sequence->prompt_done = Clock::now();
    usage.prompt_seconds = seconds_between(sequence->admitted, sequence->prompt_done);
    if (sampling.max_tokens == 0) return finish(sequence, FinishReason::kLength, std::move(event), events);
  }
  Result<Sampled> sampled =
      sampler_.sample(logits, sampling, {sequence->tokens, usage.generated_tokens, sequence->seed, sequence->end_ids});
  if (!sampled) return finish(sequence, FinishReason::kError, std::move(event), events);

  event.token = sampled->token;
  event.logprob = sampled->logprob;
  event.top = std::move(sampled->top);
  sequence->tokens.push_back(event.token);
  ++usage.generated_tokens;
  usage.generate_seconds = seconds_between(sequence->prompt_done, Clock::now());

  const auto& ends = sequence->end_ids;
  const bool full = static_cast<int32_t>(sequence->tokens.size()) >= options_.context;
  if (std::find(ends.begin(), ends.end(), event.token) != ends.end()) {
    finish(sequence, FinishReason::kStop, std::move(event), events);
  } else if (usage.generated_tokens == sampling.max_tokens || full) {
    finish(sequence, FinishReason::kLength, std::move(event), events);
  } else {
    event.usage = usage;
    events.push_back(std::move(event));
  }
}

void Engine::finish(SequencePtr& sequence, FinishReason reason, Event event, std::vector<Event>& events) {
  event.finish = reason;
  event.usage = sequence->usage;
  events.push_back(std::move(event));
  SequencePtr done = std::move(sequence);
  if (done->request.session == kNoSession) return release_pages(done->pages);
  const SessionId session = done->request.session;
  done->request = {};
  done->tokens.resize(static_cast<size_t>(done->cached));
  done->last_used = ++clock_;
  resting_.insert_or_assign(session, std::move(done));
}

void Engine::release_pages(PageTables& pages) {
  for (int32_t page : pages.global) global_pool_.give(page);
  for (int32_t page : pages.local) local_pool_.give(page);
  pages = {};
}

}  // namespace carat
