// What draws need of rows of logits, found where the rows lie: of a megabyte a row a few hundred bytes matter. And what
// bias, penalties and masks do to them before.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "backend/cuda/forward.h"
#include "base/checked.h"

namespace carat::cuda {
namespace {

// order_of_logit, taken apart.
Candidate candidate_of(uint64_t key) {
  const auto order = static_cast<uint32_t>(key >> 32);
  const uint32_t bits = (order >> 31) != 0 ? order & 0x7fffffffu : ~order;
  return {static_cast<int32_t>(~static_cast<uint32_t>(key)), std::bit_cast<float>(bits)};
}

}  // namespace

Status Forward::prepare_top() {
  constexpr auto kRows = static_cast<size_t>(kHeadRows);
  pieces_ = div_ceil<size_t>(static_cast<size_t>(config_.vocabulary), kPieceLogits);
  DeviceLayout layout;
  const size_t largest = layout.add<uint32_t>(kRows * kTopGroups);
  const size_t least = layout.add<uint32_t>(kRows);
  const size_t per_row = layout.add<double>(4 * kRows);
  const size_t slots = layout.add<int32_t>(static_cast<size_t>(std::max(1, plan_.slots)));
  const size_t landed = layout.bytes();                                // what follows comes to the host
  const size_t count = layout.add<uint64_t>(kRows * (1 + kTopTaken));  // how many, then which
  const size_t best = layout.add<uint64_t>(kRows);
  const size_t raw_sums = layout.add<double>(kRows * pieces_);
  const size_t sums = layout.add<double>(kRows * pieces_);
  top_memory_ = {};
  CARAT_TRY(top_memory_, DeviceMemory::allocate(device_, layout.bytes(), "sampling"));
  if (top_landing_.bytes() == 0) {
    // And from the host: four numbers of each row.
    CARAT_TRY(top_landing_, DeviceMemory::allocate_host(device_, layout.bytes() - landed + 4 * kRows * sizeof(double)));
  }
  uint8_t* base = top_memory_.data();
  top_.largest = reinterpret_cast<uint32_t*>(base + largest);
  top_.least = reinterpret_cast<uint32_t*>(base + least);
  top_.count = reinterpret_cast<uint64_t*>(base + count);
  top_.taken = top_.count + kHeadRows;
  top_.vocabulary = config_.vocabulary;
  draw_.best = reinterpret_cast<uint64_t*>(base + best);
  draw_.raw_sums = reinterpret_cast<double*>(base + raw_sums);
  draw_.sums = reinterpret_cast<double*>(base + sums);
  draw_.per_row = reinterpret_cast<double*>(base + per_row);
  landed_ = base + landed;
  landed_bytes_ = layout.bytes() - landed;
  slots_ = reinterpret_cast<int32_t*>(base + slots);
  device_.fill(base, 0, layout.bytes());  // tables come to the host whole, with rows that found less
  return {};
}

// The best of rows [first, first + count) of the step, from their keys (order_of_logit).
void Forward::take_best(size_t first, size_t count, Results& results) const {
  for (size_t i = first; i < first + count; ++i) {
    const auto order = static_cast<uint32_t>(keys()[i] >> 32);
    const Candidate best = candidate_of(keys()[i]);
    results.best[i] = {best.id, best.logit, order != ~0u && order > kOrderOfNothing};
  }
}

Status Forward::fetch(size_t row, size_t begin, std::span<float> out) {
  const auto V = static_cast<size_t>(config_.vocabulary);
  device_.download(out.data(), at<float>(logits_) + (row - found_first_) * V + begin, out.size_bytes());
  return device_.finish();
}

// Of rows [first, first + count) of the step, whose logits and best_ are on their way.
Status Forward::find_draws(const Wanted& wanted, size_t first, size_t count, Results& results, bool computed) {
  const auto V = static_cast<size_t>(config_.vocabulary);
  const auto draws = wanted.draws.subspan(first, count);
  const auto found = std::span(results.found).subspan(first, count);
  found_first_ = first;
  int32_t raw_top = 0, top = 0;
  bool raw_sums = false, sums = false, changes = false, below = false;
  for (size_t i = 0; i < count; ++i) {
    const RowDraw& draw = draws[i];
    if (draw.row) {
      device_.download(results.logits.data() + (first + i) * V, at<float>(logits_) + i * V, V * sizeof(float));
    }
    changes = changes || draw.changes();
    raw_top = std::max(raw_top, draw.raw_top);
    top = std::max(top, draw.top);
    raw_sums = raw_sums || draw.raw_sums;
    sums = sums || draw.temperature > 0;
    below = below || draw.below < 0;
    found[i] = {};
  }
  const bool same = !changes && !below;  // the best before the changes and after
  if (same) top = std::max(top, std::exchange(raw_top, 0));

  auto* numbers = reinterpret_cast<double*>(top_landing_.data() + landed_bytes_);
  const std::span raw_temperatures(numbers, count), temperatures(numbers + kHeadRows, count),
      belows(numbers + 2 * kHeadRows, count);
  std::fill_n(numbers + 3 * kHeadRows, kHeadRows, 0.0);
  std::vector<std::vector<Candidate>*> raw_tops(count), tops(count);
  for (size_t i = 0; i < count; ++i) {
    raw_temperatures[i] = draws[i].raw_sums ? 1 : 0;
    temperatures[i] = draws[i].temperature;
    belows[i] = draws[i].below;
    if (draws[i].raw_top > 0) (same ? tops : raw_tops)[i] = same ? &found[i].top : &found[i].raw_top;
    if (draws[i].top > 0 || draws[i].below < 0) tops[i] = &found[i].top;
  }
  if (raw_sums || sums || below || top > 0 || raw_top > 0) {
    device_.upload(draw_.per_row, numbers, 4 * kHeadRows * sizeof(double));
  }
  if (raw_sums) sum_rows(best_, raw_temperatures, draw_.raw_sums);
  if (raw_top > 0) CARAT_CHECK(take_top(raw_top, best_, {}, raw_tops));
  const uint64_t* best = best_;
  if (changes) {
    CARAT_CHECK(change_rows(draws, found));
    best = draw_.best;
  }
  if (sums) sum_rows(best, temperatures, draw_.sums);
  const bool takes = top > 0 || below;
  if (takes) CARAT_CHECK(take_top(top, best, belows, tops));
  const auto at_host = [&](const void* device) {
    return top_landing_.data() + (static_cast<const uint8_t*>(device) - landed_);
  };
  if (raw_sums || sums || changes) {
    device_.download(at_host(draw_.best), draw_.best,
                     landed_bytes_ - static_cast<size_t>(at_host(draw_.best) - top_landing_.data()));
    for (size_t i = 0; i < count; ++i) {
      found[i].raw_sums = {reinterpret_cast<const double*>(at_host(draw_.raw_sums)) + i * pieces_,
                           draws[i].raw_sums ? pieces_ : 0};
      found[i].sums = {reinterpret_cast<const double*>(at_host(draw_.sums)) + i * pieces_,
                       temperatures[i] > 0 ? pieces_ : 0};
    }
  }
  CARAT_CHECK(device_.finish());
  if (computed) take_decoded(true);
  take_best(first, count, results);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t key = changes ? reinterpret_cast<const uint64_t*>(at_host(draw_.best))[i] : keys()[first + i];
    found[i].best = candidate_of(key);
    if (static_cast<uint32_t>(key >> 32) <= kOrderOfNothing) found[i].best.id = -1;
    if (same && draws[i].raw_top > 0) found[i].raw_top = found[i].top;
  }
  return wanted.found ? wanted.found(first, count) : Status();
}

void Forward::sum_rows(const uint64_t* best, std::span<const double> temperatures, double* sums) {
  SumParams p{};
  p.logits = at<float>(logits_);
  p.best = best;
  p.temperatures =
      draw_.per_row + (temperatures.data() - reinterpret_cast<const double*>(top_landing_.data() + landed_bytes_));
  p.sums = sums;
  p.vocabulary = config_.vocabulary;
  p.pieces = static_cast<int32_t>(pieces_);
  launch(kernels_.sum_pieces, p, static_cast<uint32_t>(pieces_), static_cast<uint32_t>(temperatures.size()), 1,
         kSumThreads, (kPieceLogits + kPieceLanes) * sizeof(double));
}

// The lists, masks and where they begin go up in one piece; the logits that are changed come back as they were. Then the best
// are found again.
Status Forward::change_rows(std::span<const RowDraw> draws, std::span<Results::Found> found) {
  const auto words = div_ceil<size_t>(static_cast<size_t>(config_.vocabulary), 32);
  size_t adjustments = 0, masks = 0;
  for (const RowDraw& draw : draws) {
    adjustments += draw.adjustments.size();
    masks += draw.allowed.empty() ? 0 : 1;
  }
  DeviceLayout layout;
  const size_t list = layout.add<Adjustment>(adjustments);
  const size_t begin = layout.add<int32_t>(draws.size() + 1);
  const size_t mask = layout.add<int32_t>(draws.size());
  const size_t allowed = layout.add<uint32_t>(masks * words);
  const size_t before = layout.add<float>(adjustments);  // comes back
  if (changes_.bytes() < layout.bytes()) {
    changes_ = {};
    changes_memory_ = {};
    CARAT_TRY(changes_memory_, DeviceMemory::allocate(device_, 2 * layout.bytes(), "what changes logits"));
    CARAT_TRY(changes_,
              DeviceMemory::allocate_host(device_, 2 * layout.bytes()));  // last: its size says there are both
  }
  uint8_t* host = changes_.data();
  uint8_t* device = changes_memory_.data();
  auto* begins = reinterpret_cast<int32_t*>(host + begin);
  auto* mask_of = reinterpret_cast<int32_t*>(host + mask);
  int32_t used = 0, masks_used = 0;
  for (size_t i = 0; i < draws.size(); ++i) {
    begins[i] = used;
    std::copy(draws[i].adjustments.begin(), draws[i].adjustments.end(),
              reinterpret_cast<Adjustment*>(host + list) + used);
    found[i].before = {reinterpret_cast<const float*>(host + before) + used, draws[i].adjustments.size()};
    used += static_cast<int32_t>(draws[i].adjustments.size());
    mask_of[i] = draws[i].allowed.empty() ? -1 : masks_used;
    if (draws[i].allowed.empty()) continue;
    std::copy(draws[i].allowed.begin(),
              draws[i].allowed.begin() + static_cast<std::ptrdiff_t>(std::min(words, draws[i].allowed.size())),
              reinterpret_cast<uint32_t*>(host + allowed) + static_cast<size_t>(masks_used++) * words);
  }
  begins[draws.size()] = used;
  device_.upload(device, host, before);
  AdjustParams p{};
  p.logits = at<float>(logits_);
  p.list = reinterpret_cast<const Adjustment*>(device + list);
  p.before = reinterpret_cast<float*>(device + before);
  p.begin = reinterpret_cast<const int32_t*>(device + begin);
  p.allowed = reinterpret_cast<const uint32_t*>(device + allowed);
  p.mask = reinterpret_cast<const int32_t*>(device + mask);
  p.vocabulary = config_.vocabulary;
  p.mask_words = static_cast<int32_t>(words);
  const auto n = static_cast<uint32_t>(draws.size());
  launch(kernels_.adjust_rows, p, masks > 0 ? 32 : 1, n, 1, 256, 0);
  device_.download(host + before, device + before, adjustments * sizeof(float));
  device_.fill(draw_.best, 0, draws.size() * sizeof(uint64_t));
  launch(kernels_.find_best, BestParams{at<float>(logits_), draw_.best, config_.vocabulary}, 32, n, 1, 256, 0);
  return {};
}

// `below`: a row's own number instead of k, where it has one.
void Forward::launch_top(int32_t k, const uint64_t* best, bool below, uint32_t rows) {
  top_.logits = at<float>(logits_);
  top_.best = best;
  top_.below = draw_.per_row + (below ? 2 : 3) * kHeadRows;
  top_.k = k;
  device_.fill(top_.count, 0, rows * sizeof(uint64_t));
  launch(kernels_.top_largest, top_, kTopGroups / 256, rows, 1, 256, 0);
  launch(kernels_.top_least, top_, rows, 1, 1, 32, 0);
  launch(kernels_.top_taken, top_, 32, rows, 1, 256, 0);
}

// Of rows [first, first + count) of the step; the kernel leaves keys and tokens in the host's memory.
void Forward::draw_on_device(std::span<const DrawSpec> draws, size_t first, size_t count) {
  int32_t most = 0;
  for (const DrawSpec& draw : draws.subspan(first, count)) most = std::max(most, draw.top_k);
  if (most > 0) launch_top(most, best_, false, static_cast<uint32_t>(count));
  DrawParams p{};
  p.logits = at<float>(logits_);
  p.best = best_;
  p.count = top_.count;
  p.taken = top_.taken;
  p.specs = specs_ + first;
  p.slots = slots_;
  p.keys = keys() + first;
  p.drawn = reinterpret_cast<int32_t*>(keys() + std::max<size_t>(kHeadRows, draws.size())) + first;
  p.vocabulary = config_.vocabulary;
  launch(kernels_.draw_rows, p, static_cast<uint32_t>(count), 1, 1, kDrawThreads,
         (2 * kMostTop + kDrawThreads / 32 + 1) * sizeof(uint64_t), true);
}

// The k best of each row, or all that lie no further below the best than `below` says (negative); null: of that row none.
Status Forward::take_top(int32_t k, const uint64_t* best, std::span<const double> below,
                         std::span<std::vector<Candidate>* const> rows) {
  const auto n = static_cast<uint32_t>(rows.size());
  const auto V = static_cast<size_t>(config_.vocabulary);
  launch_top(k, best, !below.empty(), n);
  device_.download(top_landing_.data(), top_.count, (kHeadRows + size_t{n} * kTopTaken) * sizeof(uint64_t));
  CARAT_CHECK(device_.finish());
  const auto* counts = reinterpret_cast<const uint64_t*>(top_landing_.data());
  for (size_t i = 0; i < n; ++i) {
    if (rows[i] == nullptr) continue;
    rows[i]->clear();
    if (counts[i] <= kTopTaken) {
      const uint64_t* taken = counts + kHeadRows + i * kTopTaken;
      for (size_t j = 0; j < counts[i]; ++j) rows[i]->push_back(candidate_of(taken[j]));
      continue;
    }
    row_.resize(V);  // very many equal logits
    CARAT_CHECK(fetch(found_first_ + i, 0, row_));
    if (below.empty() || below[i] == 0) {
      select_top(row_, static_cast<size_t>(k), *rows[i]);
      continue;
    }
    const double least = *std::max_element(row_.begin(), row_.end()) + below[i];
    for (size_t id = 0; id < V; ++id) {
      if (row_[id] >= least) rows[i]->push_back({static_cast<int32_t>(id), row_[id]});
    }
  }
  return {};
}

}  // namespace carat::cuda
