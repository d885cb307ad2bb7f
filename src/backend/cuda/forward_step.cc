// What a step tells the device, and what it copies before anything is computed.
#include <algorithm>
#include <cstring>

#include "backend/cuda/forward.h"
#include "base/checked.h"

namespace carat::cuda {

// Rows, page tables, wanted rows, page copies and embeddings: one copy into one buffer, which grows.
// Errors: kOutOfMemory; what it had is gone then, and is asked for again with the next step.
Status Forward::upload_step(const Step& step, std::span<const int32_t> tokens, const Wanted& asked) {
  const auto logits_rows = asked.logits_rows, hidden_rows = asked.hidden_rows;
  const size_t T = step.rows.size();
  const size_t S = step.seqs.size();
  size_t page_words[2] = {};
  for (const SeqRows& seq : step.seqs) {
    page_words[0] += seq.local_pages.size();
    page_words[1] += seq.global_pages.size();
  }
  DeviceLayout layout;
  const size_t rows_at = layout.add<RowInfo>(T);
  size_t pages_at[2], begin_at[2], count_at[2], places_at[2];
  for (size_t& at : places_at) at = layout.add<int32_t>(T);
  for (size_t kind = 0; kind < 2; ++kind) {
    pages_at[kind] = layout.add<int32_t>(page_words[kind]);
    begin_at[kind] = layout.add<int32_t>(S);
    count_at[kind] = layout.add<int32_t>(S);
  }
  const size_t wanted_at = layout.add<int32_t>(logits_rows.size() + hidden_rows.size());
  const size_t pairs_at = layout.add<int32_t>(2 * step.copies.size());
  const bool one = can_decode(step);
  if (one) {
    single_plan_.clear();
    tile_plan_.clear();
    tiled_rows_ = 0;
  } else {
    plan_attention(step);
  }
  const size_t singles_at = layout.add<int32_t>(single_plan_.size());
  const size_t tiles_at = layout.add<int32_t>(tile_plan_.size());
  const size_t specs_at = layout.add<DrawSpec>(asked.device_draws.size());
  const size_t embeddings_at = layout.add<float>(step.embeddings.size());

  DeviceMemory& host = now_->host;
  if (host.bytes() < layout.bytes() || step_memory_.bytes() < layout.bytes()) {
    CARAT_CHECK(device_.finish());  // the step before this one may still read it
    host = {};
    step_memory_ = {};
    uploaded_.clear();
    const size_t bytes = 2 * layout.bytes();
    CARAT_TRY(step_memory_, DeviceMemory::allocate(device_, bytes, "a step"));
    CARAT_TRY(host, DeviceMemory::allocate_host(device_, bytes));
  }
  uint8_t* to = host.data();
  if (one) std::memset(to, 0, layout.bytes());
  const auto* base = step_memory_.data();
  auto* rows = reinterpret_cast<RowInfo*>(to + rows_at);
  int32_t used[2] = {};
  for (size_t s = 0; s < S; ++s) {
    const SeqRows& seq = step.seqs[s];
    const std::span<const int32_t> pages[2] = {seq.local_pages, seq.global_pages};
    for (size_t kind = 0; kind < 2; ++kind) {
      std::memcpy(to + pages_at[kind] + static_cast<size_t>(used[kind]) * 4, pages[kind].data(),
                  pages[kind].size() * 4);
      reinterpret_cast<int32_t*>(to + begin_at[kind])[s] = used[kind];
      reinterpret_cast<int32_t*>(to + count_at[kind])[s] = static_cast<int32_t>(pages[kind].size());
      used[kind] += static_cast<int32_t>(pages[kind].size());
    }
    for (int32_t r = seq.begin; r < seq.end; ++r) {
      const int32_t position = seq.past + r - seq.begin;
      const int32_t until = step.rows[static_cast<size_t>(r)].sees_until;
      rows[r] = {tokens[static_cast<size_t>(r)], position, static_cast<int32_t>(s), until};
      for (size_t kind = 0; kind < 2; ++kind) {
        const int32_t page = pages[kind][static_cast<size_t>(position / kKeysPerPage) % pages[kind].size()];
        reinterpret_cast<int32_t*>(to + places_at[kind])[r] = page * kKeysPerPage + position % kKeysPerPage;
      }
    }
  }
  auto* wanted = reinterpret_cast<int32_t*>(to + wanted_at);
  std::copy(logits_rows.begin(), logits_rows.end(), wanted);
  std::copy(hidden_rows.begin(), hidden_rows.end(), wanted + logits_rows.size());
  auto* pairs = reinterpret_cast<int32_t*>(to + pairs_at);
  for (const bool global : {false, true}) {
    for (const PageCopy& copy : step.copies) {
      if (copy.global != global) continue;
      *pairs++ = copy.from;
      *pairs++ = copy.to;
    }
  }
  std::copy(single_plan_.begin(), single_plan_.end(), reinterpret_cast<int32_t*>(to + singles_at));
  std::copy(tile_plan_.begin(), tile_plan_.end(), reinterpret_cast<int32_t*>(to + tiles_at));
  std::copy(asked.device_draws.begin(), asked.device_draws.end(), reinterpret_cast<DrawSpec*>(to + specs_at));
  if (!step.embeddings.empty()) std::memcpy(to + embeddings_at, step.embeddings.data(), step.embeddings.size_bytes());
  // A step of one row mostly has what the one before it had: then nothing is copied, the row goes with the launch.
  const std::span<const uint8_t> behind(to + pages_at[0], one ? layout.bytes() - pages_at[0] : 0);
  if (one) {
    row_info_ = rows[0];
    const std::span<const int32_t> pages[2] = {step.seqs[0].local_pages, step.seqs[0].global_pages};
    for (size_t kind = 0; kind < 2; ++kind) {
      pages_of_row_[kind] = static_cast<int32_t>(pages[kind].size());
      for (size_t i = 0; i < kNearPages; ++i) near_pages_[kind][i] = pages[kind][i % pages[kind].size()];
    }
  }
  const TakeParams take{to, step_memory_.data(), static_cast<int32_t>(round_up<size_t>(layout.bytes(), 16))};
  const bool known = one && std::ranges::equal(behind, uploaded_);
  if (!known) {
    if (take.bytes <= kTakeBytes) {
      launch(kernels_.take_step, take, 1, 1, 1, kTakeThreads, 0, true);
    } else {
      device_.upload(step_memory_.data(), to, layout.bytes());
    }
    uploaded_.assign(behind.begin(), behind.end());
  }
  rows_ = reinterpret_cast<const RowInfo*>(base + rows_at);
  for (size_t kind = 0; kind < 2; ++kind) {
    pages_[kind] = reinterpret_cast<const int32_t*>(base + pages_at[kind]);
    page_begin_[kind] = reinterpret_cast<const int32_t*>(base + begin_at[kind]);
    page_count_[kind] = reinterpret_cast<const int32_t*>(base + count_at[kind]);
    places_[kind] = reinterpret_cast<const int32_t*>(base + places_at[kind]);
  }
  wanted_ = reinterpret_cast<const int32_t*>(base + wanted_at);
  pairs_ = reinterpret_cast<const int32_t*>(base + pairs_at);
  single_rows_ = reinterpret_cast<const int32_t*>(base + singles_at);
  tiles_ = reinterpret_cast<const int32_t*>(base + tiles_at);
  single_count_ = single_plan_.size();
  embeddings_ = embeddings_at;
  specs_ = reinterpret_cast<const DrawSpec*>(base + specs_at);
  return {};
}

void Forward::copy_pages(const Step& step) {
  if (step.copies.empty()) return;
  uint32_t count[2] = {};
  for (const PageCopy& copy : step.copies) ++count[copy.global ? 1 : 0];
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const size_t kind = weights_.layers[i].global ? 1 : 0;
    if (count[kind] == 0) continue;
    for (uint16_t* cache : {k_cache_[i], v_cache_[i]}) {
      CopyPagesParams p{};
      p.base = reinterpret_cast<uint8_t*>(cache);
      p.pairs = pairs_ + (kind == 1 ? 2 * count[0] : 0);
      p.page_bytes = static_cast<int64_t>(page_bytes_);
      launch(kernels_.copy_pages, p, count[kind], 1, 1, 256, 0);
    }
  }
}

}  // namespace carat::cuda
