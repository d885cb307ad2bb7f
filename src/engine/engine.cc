// Requests in and events out. What lies between, the planning of steps, is in engine_steps.cc.
#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/entropy.h"
#include "base/memory.h"
#include "engine/constraint.h"

namespace carat {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

Error invalid(std::string message) { return Error{ErrorCode::kInvalidArgument, std::move(message)}; }

Error damaged() {
  return Error{ErrorCode::kCorruptFile, "the model computed a number that is not finite: its weights are damaged"};
}

Error error_of(SampleFault fault) {
  if (fault == SampleFault::kNotFinite) return damaged();
  return Error{ErrorCode::kInvalidArgument, "no token is left: the grammar, the logit_bias or min_tokens bar them all"};
}

Status check_images(const std::vector<ImageSpan>& images, int64_t prompt, int32_t width, int32_t max_rows) {
  int32_t free_from = 0;
  for (const ImageSpan& image : images) {
    const int64_t rows = int64_t{image.end} - image.begin;
    if (image.begin < free_from || rows < 1 || image.end > prompt) {
      return invalid(fmt::format("a picture at positions {} to {} of a prompt of {}", image.begin, image.end, prompt));
    }
    if (rows > max_rows) {
      return invalid(fmt::format("a picture of {} rows does not fit a step of {}", rows, max_rows));
    }
    if (!image.embeddings || image.embeddings->size() != static_cast<size_t>(rows) * static_cast<size_t>(width)) {
      return invalid("a picture's embeddings are not as large as its place in the prompt");
    }
    free_from = image.end;
  }
  return {};
}

}  // namespace

Result<EngineOptions> Engine::checked(const ModelConfig& config, const EngineOptions& options) {
  constexpr int32_t kMostSequences = 4096, kMostRows = 16384;
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
  if (options.steps_in_flight < 1 || options.steps_in_flight > 2) {
    return invalid(fmt::format("{} steps in flight, expected 1 or 2", options.steps_in_flight));
  }
  EngineOptions out = options;
  out.max_rows = std::max(std::min(options.max_rows, options.context), options.max_sequences);
  if (out.beside_rows == 0) out.beside_rows = out.max_rows;
  out.beside_rows = std::clamp(out.beside_rows, options.max_sequences, out.max_rows);
  out.max_logits_rows = std::min(std::max(options.max_logits_rows, options.max_sequences), out.max_rows);
  const int32_t blocks = blocks_of(options.context);
  if (out.cache_pages < 0) out.cache_pages = std::max(blocks, 4 * blocks_of(config.window));
  const bool for_all = options.whole_contexts <= 0 || options.whole_contexts > options.max_sequences;
  out.whole_contexts = for_all ? options.max_sequences : options.whole_contexts;
  const KvPlan enough =
      plan_kv(config, {out.context, out.max_rows, out.max_sequences, out.whole_contexts, out.cache_pages});
  const KvPlan least = plan_kv(config, {out.context, out.max_rows, 1, 1, 1});
  if (out.global_pages == 0) out.global_pages = enough.global_pages;
  if (out.local_pages == 0) out.local_pages = enough.local_pages;
  if (out.global_pages < least.global_pages || out.local_pages < least.local_pages) {
    return invalid(fmt::format("{} global and {} local pages; one sequence of {} tokens needs {} and {}",
                               out.global_pages, out.local_pages, options.context, least.global_pages,
                               least.local_pages));
  }
  return out;
}

KvPlan Engine::plan(const ModelConfig&, const EngineOptions& checked) {
  KvPlan plan;
  plan.global_pages = checked.global_pages;
  plan.local_pages = checked.local_pages;
  plan.max_rows = checked.max_rows;
  plan.slots = checked.max_sequences;
  return plan;
}

Result<std::unique_ptr<Engine>> Engine::create(Backend& backend, const ModelConfig& config,
                                               const EngineOptions& options) {
  CARAT_TRY(const EngineOptions all, checked(config, options));
  const KvPlan pages = plan(config, all);
  CARAT_CHECK(backend.reserve_kv(pages));
  return std::unique_ptr<Engine>(new Engine(backend, config, all, pages));
}

Engine::Engine(Backend& backend, const ModelConfig& config, const EngineOptions& options, const KvPlan& plan)
    : backend_(backend),
      config_(config),
      options_(options),
      ring_pages_(local_ring_pages(
          config, {options.context, options.max_rows, options.max_sequences, options.whole_contexts, 0})),
      global_pool_(plan.global_pages),
      local_pool_(plan.local_pages),
      cache_(global_pool_, local_pool_, config.window) {
  for (int32_t slot = options.max_sequences - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

// Steps in flight point into this engine: they end before it does.
Engine::~Engine() {
  for (; in_flight_ > 0; --in_flight_) {
    const auto result = with_memory([&] { return backend_.wait(flights_[oldest_].ticket); });
    static_cast<void>(result);
    oldest_ = 1 - oldest_;
  }
}

Status Engine::check(const Request& request) const {
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) return invalid("the prompt is empty");
  for (int32_t id : request.prompt) {
    if (id < 0 || id >= config_.vocabulary) {
      return invalid(fmt::format("the prompt holds token {}, expected ids from 0 to {}", id, config_.vocabulary - 1));
    }
  }
  CARAT_CHECK(validate(request.sampling, config_.vocabulary));
  CARAT_CHECK(carat::check(request.rules, config_.vocabulary));
  if (request.constraint && request.sampling.ignore_eos) {
    return invalid("an answer in a shape ends where the shape does: not with ignore_eos");
  }
  const int64_t room = options_.context - (request.sampling.max_tokens == 0 ? 0 : 1);
  if (length > room) {
    return Error{ErrorCode::kTooLong, fmt::format("the prompt has {} tokens, and a context of {} has room for {}",
                                                  length, options_.context, room)};
  }
  if (request.observe_from < -1 || request.observe_from >= length) {
    return invalid(fmt::format("logits from position {} on, expected -1 to {}", request.observe_from, length - 1));
  }
  if (request.hidden_from < 0 || request.hidden_from >= length) {
    return invalid(fmt::format("hidden states from position {} on, expected 0 to {}", request.hidden_from, length - 1));
  }
  return check_images(request.images, length, config_.width, options_.max_rows);
}

Result<RequestId> Engine::submit(Request request) {
  constexpr int32_t kNever = std::numeric_limits<int32_t>::max();
  CARAT_CHECK(check(request));
  auto sequence = std::make_shared<Sequence>();
  sequence->id = next_id_++;
  sequence->tokens = std::move(request.prompt);
  const SamplingParams& sampling = request.sampling;
  sequence->usage.prompt_tokens = sequence->known();
  sequence->seed = sampling.seed ? *sampling.seed : unguessable_bits();
  sequence->end_ids = sampling.stop_ids;
  if (!sampling.ignore_eos) {
    sequence->end_ids.insert(sequence->end_ids.end(), config_.eos_ids.begin(), config_.eos_ids.end());
  }
  for (const ImageSpan& image : request.images) sequence->whole.emplace_back(image.begin, image.end);
  const int32_t observe_from = request.observe_from >= 0 ? request.observe_from : sequence->known() - 1;
  sequence->observe_next = request.on_logits ? observe_from : kNever;
  sequence->hidden_next = request.on_hidden ? request.hidden_from : kNever;
  sequence->follows_rules = request.constraint || request.rules.depend_on_answer();
  sequence->request = std::move(request);
  CARAT_CHECK(say_what_may_follow(*sequence));
  const auto later = [&](const SequencePtr& other) {
    return other->request.priority < sequence->request.priority && !other->was_admitted;
  };
  const RequestId id = sequence->id;
  waiting_.insert(std::find_if(waiting_.begin(), waiting_.end(), later), std::move(sequence));
  return id;
}

bool Engine::cancel(RequestId id) {
  const auto has_id = [&](const SequencePtr& s) { return s->id == id; };
  Event event;
  event.request = id;
  if (const auto it = std::find_if(waiting_.begin(), waiting_.end(), has_id); it != waiting_.end()) {
    event.finish = FinishReason::kCancelled;
    event.usage = (*it)->usage;
    told_later_.push_back(std::move(event));
    waiting_.erase(it);
    return true;
  }
  const auto it = std::find_if(running_.begin(), running_.end(), has_id);
  if (it == running_.end()) return false;
  const SequencePtr sequence = *it;
  finish(sequence, FinishReason::kCancelled, std::move(event), told_later_);
  return true;
}

bool Engine::step(std::vector<Event>& events) {
  bool worked = !told_later_.empty();
  std::move(told_later_.begin(), told_later_.end(), std::back_inserter(events));
  told_later_.clear();
  const bool submitted = submit_next(events);
  worked = worked || submitted;
  if (in_flight_ > 0 && (!submitted || in_flight_ == static_cast<size_t>(options_.steps_in_flight))) {
    publish(events);
    worked = true;
  }
  return worked;
}

// The oldest step in flight: its outcome becomes events, and its blocks are known to the cache.
void Engine::publish(std::vector<Event>& events) {
  Flight& flight = flights_[oldest_];
  oldest_ = 1 - oldest_;
  --in_flight_;  // whatever happens now, nobody waits for it again
  Result<StepResult> result = with_memory([&] { return backend_.wait(flight.ticket); });
  if (!result.ok()) {
    // What the step in flight behind it builds on was not computed either.
    for (const Flight::Part& part : flight.parts) fail(part.sequence, result.error(), events);
    if (in_flight_ > 0) {
      for (const Flight::Part& part : flights_[oldest_].parts) fail(part.sequence, result.error(), events);
    }
    return flight.clear();
  }
  size_t sample = 0, logits = 0, hidden = 0;
  for (const Flight::Part& part : flight.parts) {
    const SequencePtr& sequence = part.sequence;
    if (part.samples) --sequence->sampling;
    const Status observed = observe(part, *result, logits, hidden);
    const size_t own_sample = sample;
    if (part.samples) ++sample;
    if (sequence->ended) continue;
    if (!observed.ok()) {
      fail(sequence, observed.error(), events);
      continue;
    }
    sequence->computed = part.past + part.rows;
    store_blocks(*sequence);
    if (part.samples) {
      take_sample(sequence, result->samples[own_sample], events);
    } else if (sequence->computed == sequence->known() && sequence->request.sampling.max_tokens == 0) {
      Event event;
      event.request = sequence->id;
      sequence->usage.prompt_seconds = seconds_between(sequence->admitted, Clock::now());
      finish(sequence, FinishReason::kLength, std::move(event), events);
    }
  }
  flight.clear();
}

// Hands logits and hidden states to whoever asked. Errors: kCorruptFile where they are not finite.
Status Engine::observe(const Flight::Part& part, const StepResult& result, size_t& logits, size_t& hidden) const {
  const Request& request = part.sequence->request;
  const bool ended = part.sequence->ended;
  bool finite = true;
  for (const int32_t position : part.observed) {
    const std::span<const float> row = result.logits[logits++];
    if (ended || !finite) continue;
    finite = usable(row);
    if (finite) request.on_logits(position, row);
  }
  for (const int32_t position : part.hidden) {
    const std::span<const float> row = result.hidden[hidden++];
    if (ended || !finite) continue;
    finite = usable(row);
    if (finite) request.on_hidden(position, row);
  }
  if (finite) return {};
  return damaged();
}

// The token that follows all that is known of a sequence.
void Engine::take_sample(const SequencePtr& sequence, Sampled sampled, std::vector<Event>& events) {
  if (sampled.fault != SampleFault::kNone) return fail(sequence, error_of(sampled.fault), events);
  Usage& usage = sequence->usage;
  Event event;
  event.request = sequence->id;
  event.token = sampled.token;
  event.logprob = sampled.logprob;
  event.top = std::move(sampled.top);
  if (usage.generated_tokens == 0) {
    sequence->prompt_done = Clock::now();
    usage.prompt_seconds = seconds_between(sequence->admitted, sequence->prompt_done);
  }
  if (add_token(sequence, std::move(event), events) && sequence->follows_rules) constrain(sequence, events);
}

// A token that was sampled, or that can only come so. False when it ends the answer.
bool Engine::add_token(const SequencePtr& sequence, Event event, std::vector<Event>& events) {
  Usage& usage = sequence->usage;
  sequence->tokens.push_back(event.token);
  ++usage.generated_tokens;
  usage.generate_seconds = seconds_between(sequence->prompt_done, Clock::now());

  const auto& ends = sequence->end_ids;
  if (std::find(ends.begin(), ends.end(), event.token) != ends.end()) {
    finish(sequence, FinishReason::kStop, std::move(event), events);
    return false;
  }
  if (usage.generated_tokens == sequence->request.sampling.max_tokens || sequence->known() >= options_.context) {
    finish(sequence, FinishReason::kLength, std::move(event), events);
    return false;
  }
  event.usage = usage;
  events.push_back(std::move(event));
  return true;
}

// What may follow the last token; and those that must, without a step each, where nobody asks for their logits.
void Engine::constrain(const SequencePtr& sequence, std::vector<Event>& events) {
  const Request& request = sequence->request;
  if (Constraint* constraint = request.constraint.get()) {
    if (Status fits = constraint->accept(sequence->tokens.back()); !fits.ok()) {
      return fail(sequence, fits.error(), events);
    }
    const bool each_by_itself = request.on_logits || request.sampling.logprobs || !request.rules.empty();
    for (const int32_t id : each_by_itself ? std::vector<int32_t>{} : constraint->forced_tokens()) {
      Event event;
      event.request = sequence->id;
      event.token = id;
      if (!add_token(sequence, std::move(event), events)) return;
      if (Status fits = constraint->accept(id); !fits.ok()) return fail(sequence, fits.error(), events);
    }
  }
  if (Status some = say_what_may_follow(*sequence); !some.ok()) fail(sequence, some.error(), events);
}

// Error: the grammar lets nothing follow.
Status Engine::say_what_may_follow(Sequence& sequence) const {
  const Request& request = sequence.request;
  if (!request.constraint && request.rules.empty()) return {};
  allow_all(config_.vocabulary, sequence.allowed);
  if (request.constraint) CARAT_CHECK(request.constraint->mask(sequence.allowed));
  const std::span<const int32_t> tokens = sequence.tokens;
  apply(request.rules, tokens.subspan(static_cast<size_t>(sequence.usage.prompt_tokens)), sequence.allowed);
  return {};
}

// Every block that is complete goes into the cache.
void Engine::store_blocks(Sequence& sequence) {
  for (;;) {
    const auto block = sequence.path.size();
    const auto begin = static_cast<int32_t>(block) * kPageTokens;
    if (begin + kPageTokens > sequence.computed) return;
    std::array<CacheKey, kPageTokens> keys;
    for (int32_t i = 0; i < kPageTokens; ++i) keys[static_cast<size_t>(i)] = sequence.cache_key(begin + i);
    CacheBlock* stored = cache_.insert(sequence.request.cache_salt, sequence.path, keys, sequence.global_pages[block],
                                       sequence.local_pages[block]);
    sequence.global_pages[block] = cache_.global_page(stored);
    sequence.local_pages[block] = cache_.local_page(stored);
    sequence.path.push_back(stored);
  }
}

void Engine::finish(const SequencePtr& sequence, FinishReason reason, Event event, std::vector<Event>& events) {
  event.finish = reason;
  event.usage = sequence->usage;
  events.push_back(std::move(event));
  release(*sequence);
  sequence->ended = true;
  std::erase(running_, sequence);
}

void Engine::fail(const SequencePtr& sequence, Error error, std::vector<Event>& events) {
  if (sequence->ended) return;
  Event event;
  event.request = sequence->id;
  event.error = std::move(error);
  sequence->computed = static_cast<int32_t>(sequence->path.size()) * kPageTokens;  // nothing more is worth keeping
  finish(sequence, FinishReason::kError, std::move(event), events);
}

CacheKey Sequence::cache_key(int32_t position) const {
  for (size_t i = 0; i < whole.size(); ++i) {
    if (position < whole[i].first || position >= whole[i].second) continue;
    const auto row = static_cast<uint64_t>(position - whole[i].first);
    return (request.images[i].hash + row * 0x9E3779B97F4A7C15u) | uint64_t{1} << 63;
  }
  return static_cast<CacheKey>(tokens[static_cast<size_t>(position)]);
}

}  // namespace carat
