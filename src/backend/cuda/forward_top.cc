// The most probable tokens of rows of logits, found where the logits are: of a megabyte a row a few hundred bytes matter.
#include <bit>

#include "backend/cuda/forward.h"

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
  DeviceLayout layout;
  const size_t largest = layout.add<uint32_t>(static_cast<size_t>(kHeadRows) * kTopGroups);
  const size_t least = layout.add<uint32_t>(kHeadRows);
  const size_t words = static_cast<size_t>(kHeadRows) * (1 + kTopTaken);  // how many, then which: they come to the host
  const size_t count = layout.add<uint64_t>(words);
  top_memory_ = {};
  CARAT_TRY(top_memory_, DeviceMemory::allocate(device_, layout.bytes(), "sampling"));
  if (top_landing_.bytes() == 0) {
    CARAT_TRY(top_landing_, DeviceMemory::allocate_host(device_, words * sizeof(uint64_t)));
  }
  top_.largest = reinterpret_cast<uint32_t*>(top_memory_.data() + largest);
  top_.least = reinterpret_cast<uint32_t*>(top_memory_.data() + least);
  top_.count = reinterpret_cast<uint64_t*>(top_memory_.data() + count);
  top_.taken = top_.count + kHeadRows;
  top_.vocabulary = config_.vocabulary;
  return {};
}

Status Forward::take_top(int32_t k, std::span<std::vector<Candidate>> rows) {
  const auto n = static_cast<uint32_t>(rows.size());
  const auto V = static_cast<size_t>(config_.vocabulary);
  top_.logits = at<float>(logits_);
  top_.k = k;
  device_.fill(top_.count, 0, n * sizeof(uint64_t));
  launch(kernels_.top_largest, top_, kTopGroups / 256, n, 1, 256, 0);
  launch(kernels_.top_least, top_, n, 1, 1, 32, 0);
  launch(kernels_.top_taken, top_, 32, n, 1, 256, 0);
  device_.download(top_landing_.data(), top_.count, (kHeadRows + size_t{n} * kTopTaken) * sizeof(uint64_t));
  CARAT_CHECK(device_.finish());
  const auto* counts = reinterpret_cast<const uint64_t*>(top_landing_.data());
  for (size_t i = 0; i < n; ++i) {
    const uint64_t* taken = counts + kHeadRows + i * kTopTaken;
    rows[i].clear();
    if (counts[i] <= kTopTaken) {
      for (size_t j = 0; j < counts[i]; ++j) rows[i].push_back(candidate_of(taken[j]));
    } else {  // very many equal logits
      std::vector<float> logits(V);
      device_.download(logits.data(), at<float>(logits_) + i * V, V * sizeof(float));
      CARAT_CHECK(device_.finish());
      select_top(logits, static_cast<size_t>(k), rows[i]);
    }
  }
  return {};
}

}  // namespace carat::cuda
