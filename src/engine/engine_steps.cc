// The planning of steps: who may begin, whose rows are computed, in which pages.
#include <algorithm>

#include "engine/engine.h"

namespace carat {

void Engine::Flight::clear() {
  parts.clear();
  rows.clear();
  seqs.clear();
  outputs.clear();
  embeddings.clear();
  copies.clear();
  histories.clear();
}

bool Engine::in_flight(const Sequence& sequence) const { return sequence.planned > sequence.computed; }

// What is being sampled ends the answer, whatever it is.
bool Engine::ends_by_length(const Sequence& sequence) const {
  const int32_t most = sequence.request.sampling.max_tokens;
  const int32_t generated = sequence.usage.generated_tokens + sequence.sampling;
  return (most >= 0 && generated >= most) || sequence.known() + sequence.sampling >= options_.context;
}

void Engine::admit_waiting() {
  while (!waiting_.empty() && !free_slots_.empty()) {
    const SequencePtr next = waiting_.front();
    if (!admit(next)) return;
    waiting_.pop_front();
    running_.push_back(next);
  }
}

// Begins a sequence where the cache's knowledge of it ends. False while there are not enough pages for its prompt and
// the beginning of its answer; a sequence that runs alone always has them.
bool Engine::admit(const SequencePtr& sequence) {
  constexpr int32_t kAnswerBegins = 256;
  const int32_t limit = std::min({sequence->known() - 1, sequence->observe_next, sequence->hidden_next});
  std::vector<CacheKey> keys;
  keys.reserve(static_cast<size_t>(std::max(0, limit)));
  for (int32_t position = 0; position < limit; ++position) keys.push_back(sequence->cache_key(position));
  const PrefixCache::Hit hit = cache_.find(sequence->request.cache_salt, keys, sequence->whole);
  cache_.use(hit);

  const int32_t most = sequence->request.sampling.max_tokens;
  const int32_t answer =
      std::min(most < 0 ? kAnswerBegins : std::min(most, kAnswerBegins), options_.context - sequence->known());
  const int32_t blocks = blocks_of(sequence->known() + answer);
  const int32_t global = blocks - static_cast<int32_t>(hit.path.size());
  const int32_t local = std::min(blocks, blocks_of(config_.window) + 1 + blocks_of(options_.beside_rows));
  if (!running_.empty() && (cache_.available_global() < global || cache_.available_local() < local)) {
    if (hit.tail != nullptr) {
      cache_.release_local(hit.tail, false);
      cache_.release({&hit.tail, 1});
    }
    for (size_t i = static_cast<size_t>(std::max(0, hit.tokens() - config_.window + 1) / kPageTokens);
         i < hit.path.size(); ++i) {
      cache_.release_local(hit.path[i], false);
    }
    cache_.release(hit.path);
    return false;
  }
  begin(*sequence, hit);
  return true;
}

void Engine::begin(Sequence& sequence, const PrefixCache::Hit& hit) {
  sequence.slot = free_slots_.back();
  free_slots_.pop_back();
  sequence.path = hit.path;
  sequence.local_begin = std::max(0, hit.tokens() - config_.window + 1) / kPageTokens;
  for (size_t i = 0; i < hit.path.size(); ++i) {
    sequence.global_pages.push_back(cache_.global_page(hit.path[i]));
    const bool seen = static_cast<int32_t>(i) >= sequence.local_begin;
    sequence.local_pages.push_back(seen ? cache_.local_page(hit.path[i]) : -1);
  }
  if (hit.tail != nullptr) {  // a copy of its own, to go on in
    const bool got = get_pages(sequence, hit.tokens());
    CARAT_ASSERT(got);
    copies_.push_back({true, cache_.global_page(hit.tail), sequence.global_pages.back()});
    copies_.push_back({false, cache_.local_page(hit.tail), sequence.local_pages.back()});
    cache_.release_local(hit.tail, true);
    cache_.release({&hit.tail, 1});
  }
  sequence.planned = sequence.computed = hit.tokens();
  if (sequence.was_admitted) return;
  sequence.was_admitted = true;
  sequence.usage.reused_tokens = hit.tokens();
  sequence.admitted = std::chrono::steady_clock::now();
}

PendingRows Engine::pending_of(const Sequence& sequence) const {
  PendingRows pending;
  if (sequence.sampling > 0 && ends_by_length(sequence)) return pending;
  if (sequence.sampling > 0 && sequence.follows_rules) return pending;  // what may follow is not known yet
  pending.rows = sequence.pending();
  pending.position = sequence.planned;
  pending.whole = sequence.whole;
  const int32_t end = sequence.planned + pending.rows;
  const int32_t first_wanted =
      std::min(sequence.request.sampling.max_tokens == 0 ? end : end - 1, sequence.observe_next);
  pending.quiet = std::clamp(first_wanted - sequence.planned, 0, pending.rows);
  return pending;
}

// Plans and submits a step. False when there is nothing to compute, or all of it waits for what is in flight.
bool Engine::submit_next(std::vector<Event>& events) {
  if (in_flight_ == flights_.size()) return false;
  Flight& flight = flights_[(oldest_ + in_flight_) % flights_.size()];
  admit_waiting();
  std::vector<PendingRows> pending;
  for (const SequencePtr& sequence : running_) pending.push_back(pending_of(*sequence));
  const std::vector<PlannedRows> plan =
      plan_step(pending, {options_.max_rows, options_.max_logits_rows, options_.beside_rows});
  std::vector<std::pair<SequencePtr, int32_t>> chosen;
  chosen.reserve(plan.size());
  for (const PlannedRows& rows : plan) chosen.emplace_back(running_[static_cast<size_t>(rows.sequence)], rows.rows);

  for (const auto& [sequence, rows] : chosen) {
    if (sequence->slot < 0) continue;  // preempted for one before it
    let_window_go(*sequence);
    bool has_pages = get_pages(*sequence, sequence->planned + rows);
    while (!has_pages && preempt_youngest(*sequence)) {
      if (sequence->slot < 0) break;
      has_pages = get_pages(*sequence, sequence->planned + rows);
    }
    if (has_pages) lay_out(flight, sequence, rows);
  }
  if (flight.parts.empty()) return false;

  flight.copies = std::move(copies_);
  copies_.clear();
  Result<Backend::Ticket> ticket =
      backend_.submit({flight.rows, flight.seqs, flight.outputs, flight.embeddings, flight.copies});
  if (!ticket.ok()) {
    for (const Flight::Part& part : flight.parts) fail(part.sequence, ticket.error(), events);
    flight.clear();
    return true;
  }
  flight.ticket = *ticket;
  ++in_flight_;
  return true;
}

// Pages for positions [0, until), if need be by forgetting what the cache has used least. What was got stays.
bool Engine::get_pages(Sequence& sequence, int32_t until) {
  const auto blocks = static_cast<size_t>(blocks_of(until));
  while (sequence.global_pages.size() < blocks) {
    const auto page = cache_.take_global();
    if (!page) return false;
    sequence.global_pages.push_back(*page);
  }
  while (sequence.local_pages.size() < blocks) {
    const auto page = cache_.take_local();
    if (!page) return false;
    sequence.local_pages.push_back(*page);
  }
  return true;
}

// Local pages before the window of the next row. Those that a prompt ended in stay longest, so that it can be asked
// again. Blocks that are not in the cache yet wait until they are.
void Engine::let_window_go(Sequence& sequence) {
  const int32_t first = std::max(0, sequence.planned - config_.window + 1) / kPageTokens;
  const int32_t stored = std::min(first, static_cast<int32_t>(sequence.path.size()));
  const int32_t prompt = sequence.usage.prompt_tokens;
  for (int32_t& block = sequence.local_begin; block < stored; ++block) {
    const bool before_answer = block * kPageTokens < prompt && (block + 1) * kPageTokens > prompt - config_.window;
    cache_.release_local(sequence.path[static_cast<size_t>(block)], before_answer);
    sequence.local_pages[static_cast<size_t>(block)] = -1;
  }
}

// The sequence that was admitted last gives its pages up. Not one that is in flight: that can wait until it is not.
bool Engine::preempt_youngest(const Sequence& for_whom) {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    const SequencePtr sequence = *it;
    if (in_flight(*sequence)) continue;
    if (sequence.get() == &for_whom && running_.size() == 1) return false;
    preempt(sequence);
    return true;
  }
  return false;
}

// Back to the head of those that wait, with all that it has said: it is computed again, with the same text.
void Engine::preempt(const SequencePtr& sequence) {
  release(*sequence);
  sequence->planned = sequence->computed = 0;
  std::erase(running_, sequence);
  waiting_.push_front(sequence);
  ++preemptions_;
}

// Gives back all pages; what has been computed stays in the cache, the beginning of a block too.
void Engine::release(Sequence& sequence) {
  const size_t block = sequence.path.size();
  const auto begin = static_cast<int32_t>(block) * kPageTokens;
  size_t own = block;
  if (sequence.computed > begin) {
    std::vector<CacheKey> keys;
    for (int32_t position = begin; position < sequence.computed; ++position) {
      keys.push_back(sequence.cache_key(position));
    }
    sequence.path.push_back(cache_.insert(sequence.request.cache_salt, sequence.path, keys,
                                          sequence.global_pages[block], sequence.local_pages[block]));
    ++own;
  }
  for (size_t i = static_cast<size_t>(sequence.local_begin); i < sequence.path.size(); ++i) {
    cache_.release_local(sequence.path[i], true);
  }
  cache_.release(sequence.path);
  for (size_t i = own; i < sequence.global_pages.size(); ++i) global_pool_.give(sequence.global_pages[i]);
  for (size_t i = own; i < sequence.local_pages.size(); ++i) local_pool_.give(sequence.local_pages[i]);
  sequence.path.clear();
  sequence.global_pages.clear();
  sequence.local_pages.clear();
  sequence.local_begin = 0;
  free_slots_.push_back(sequence.slot);
  sequence.slot = -1;
}

void Engine::lay_out(Flight& flight, const SequencePtr& sequence, int32_t rows) {
  const auto first_row = static_cast<int32_t>(flight.rows.size());
  Flight::Part part;
  part.sequence = sequence;
  part.rows = rows;
  part.past = sequence->planned;
  const int32_t end = part.past + rows;
  for (int32_t position = part.past; position < end; ++position) {
    const bool known = position < sequence->known();
    flight.rows.push_back(
        {known ? sequence->tokens[static_cast<size_t>(position)] : kFromSlot | sequence->slot, position});
  }
  for (size_t i = 0; i < sequence->whole.size(); ++i) {
    const auto [image_begin, image_end] = sequence->whole[i];
    if (image_begin < part.past || image_end > end) continue;
    const std::vector<float>& values = *sequence->request.images[i].embeddings;
    const auto first = static_cast<int32_t>(flight.embeddings.size() / static_cast<size_t>(config_.width));
    flight.embeddings.insert(flight.embeddings.end(), values.begin(), values.end());
    for (int32_t position = image_begin; position < image_end; ++position) {
      flight.rows[static_cast<size_t>(first_row + position - part.past)] = {
          kImageRow | (first + position - image_begin), image_end - 1};
    }
  }
  part.global_pages = sequence->global_pages;
  part.ring.assign(static_cast<size_t>(ring_pages_), sequence->local_pages.back());
  for (int32_t block = std::max(0, part.past - config_.window + 1) / kPageTokens; block < blocks_of(end); ++block) {
    part.ring[static_cast<size_t>(block % ring_pages_)] = sequence->local_pages[static_cast<size_t>(block)];
  }
  add_outputs(flight, part, first_row);
  sequence->planned = end;
  flight.parts.push_back(std::move(part));
  const Flight::Part& placed = flight.parts.back();
  flight.seqs.push_back({first_row, first_row + rows, placed.past, placed.global_pages, placed.ring});
}

void Engine::add_outputs(Flight& flight, Flight::Part& part, int32_t first_row) {
  Sequence& sequence = *part.sequence;
  const int32_t end = part.past + part.rows;
  part.samples = end == sequence.known() + sequence.sampling && sequence.request.sampling.max_tokens != 0;
  for (int32_t position = part.past; position < end; ++position) {
    const int32_t row = first_row + position - part.past;
    if (position >= sequence.observe_next) {
      part.observed.push_back(position);
      flight.outputs.push_back({row, OutputKind::kLogits, -1, {}});
    }
    if (position >= sequence.hidden_next && position < sequence.usage.prompt_tokens) {
      part.hidden.push_back(position);
      flight.outputs.push_back({row, OutputKind::kHidden, -1, {}});
    }
    if (part.samples && position == end - 1) {
      flight.outputs.push_back({row, OutputKind::kSample, sequence.slot, sample_spec(flight, sequence)});
    }
  }
  sequence.observe_next = std::max(sequence.observe_next, end);
  sequence.hidden_next = std::max(sequence.hidden_next, end);
  if (part.samples) ++sequence.sampling;
}

SampleSpec Engine::sample_spec(Flight& flight, const Sequence& sequence) const {
  const SamplingParams& params = sequence.request.sampling;
  SampleSpec spec;
  spec.params = &params;
  spec.generated = sequence.usage.generated_tokens + sequence.sampling;
  spec.seed = sequence.seed;
  spec.end_ids = sequence.end_ids;
  spec.allowed = sequence.allowed;  // stays as it is until the sample is taken
  if (params.has_penalty()) {  // tokens before the row's own: a copy, since `tokens` grows while the step is in flight
    const size_t before = sequence.tokens.size() - (sequence.sampling == 0 ? 1 : 0);
    const size_t most = params.repeat_last_n < 0 ? before : static_cast<size_t>(params.repeat_last_n);
    const auto last = sequence.tokens.begin() + static_cast<std::ptrdiff_t>(before);
    flight.histories.emplace_back(last - static_cast<std::ptrdiff_t>(std::min(before, most)), last);
    spec.history = flight.histories.back();
  }
  return spec;
}

}  // namespace carat
