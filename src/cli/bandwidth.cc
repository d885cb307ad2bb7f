#include "cli/bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>

namespace carat::cli {
namespace {

constexpr int64_t kChunk = 1 << 17;  // words of one claim: 1 MiB

struct Reading {
  Team* team;
  const uint64_t* words;
  int64_t count;
  std::atomic<uint64_t> sum{0};  // keeps the reads from being optimised away

  static void run(void* argument, int) {
    auto& self = *static_cast<Reading*>(argument);
    uint64_t lanes[8] = {};
    for (;;) {
      const int64_t begin = self.team->claim(0, kChunk, self.count);
      if (begin >= self.count) break;
      const int64_t end = std::min(begin + kChunk, self.count);
      for (int64_t i = begin; i < end; i += 8) {
        __builtin_prefetch(self.words + i + 512);
        for (int lane = 0; lane < 8; ++lane) lanes[lane] += self.words[i + lane];
      }
    }
    for (uint64_t lane : lanes) self.sum += lane;
  }
};

// In huge pages, as packed weights are: with small ones a core reads a tenth to a fifth less.
std::unique_ptr<uint64_t[]> some_memory(size_t words) {
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  auto memory = std::make_unique_for_overwrite<uint64_t[]>(words);
  const auto begin = (reinterpret_cast<uintptr_t>(memory.get()) + kHugePage - 1) / kHugePage * kHugePage;
  const auto end = reinterpret_cast<uintptr_t>(memory.get() + words) / kHugePage * kHugePage;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  std::fill_n(memory.get(), words, 1);
  return memory;
}

}  // namespace

double measure_read_bandwidth(Team& team, size_t bytes) {
  const size_t count = bytes / sizeof(uint64_t) / 8 * 8;
  const auto words = some_memory(count);
  double best = 0;
  for (int pass = 0; pass < 4; ++pass) {
    Reading reading{&team, words.get(), static_cast<int64_t>(count)};
    const auto start = std::chrono::steady_clock::now();
    team.run(&Reading::run, &reading);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(count * sizeof(uint64_t)) / seconds.count());
  }
  return best;
}

}  // namespace carat::cli
