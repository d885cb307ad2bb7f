// roofline [THREADS]: what this machine can do at most, as one JSON object: bytes read a second, multiply-adds a second of
// each kind of number (what instructions in registers reach, all threads together), and the time of a barrier. Run it
// beside what is to be compared: on shared machines it changes from minute to minute.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "base/threads.h"
#include "base/topology.h"
#include "cli/bandwidth.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace carat {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kChains = 14;          // of dependent operations, side by side
constexpr int64_t kRounds = 20'000;  // about a tenth of a millisecond: some of them run without anybody in between

struct Peak {
  const char* name;
  int operations;  // multiply-adds of one instruction
  bool there;
  void (*run)();
};

// A loop over kChains registers that the compiler cannot shorten.
#define CARAT_PEAK(name, isa, type, start, step)                                     \
  [[gnu::target(isa)]] void name() {                                                 \
    type sums[kChains];                                                              \
    for (auto& sum : sums) sum = start;                                              \
    const type x = start;                                                            \
    for (int64_t round = 0; round < kRounds; ++round) {                              \
      _Pragma("GCC unroll 14") for (auto& sum : sums) { sum = step; }                \
      asm volatile("");                                                              \
    }                                                                                \
    _Pragma("GCC unroll 14") for (auto& sum : sums) { asm volatile("" ::"v"(sum)); } \
  }

#if defined(__x86_64__)
CARAT_PEAK(fp32_512, "avx512f", __m512, _mm512_set1_ps(0.5f), _mm512_fmadd_ps(sum, x, x))
CARAT_PEAK(bf16_512, "avx512f,avx512bf16", __m512, _mm512_set1_ps(0.5f),
           _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(x), (__m512bh)_mm512_castps_si512(x)))
CARAT_PEAK(int16_512, "avx512f,avx512vnni", __m512i, _mm512_set1_epi32(3), _mm512_dpwssd_epi32(sum, x, x))
CARAT_PEAK(int8_512, "avx512f,avx512vnni", __m512i, _mm512_set1_epi32(3), _mm512_dpbusd_epi32(sum, x, x))
CARAT_PEAK(fp32_256, "avx2,fma", __m256, _mm256_set1_ps(0.5f), _mm256_fmadd_ps(sum, x, x))
// What AVX2 has for integers: products of pairs, added by an instruction of its own.
CARAT_PEAK(int16_256, "avx2", __m256i, _mm256_set1_epi32(3), _mm256_add_epi32(_mm256_madd_epi16(sum, x), x))

std::vector<Peak> peaks() {
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return {{"fp32", 16, avx512, fp32_512},   {"bf16", 32, avx512 && __builtin_cpu_supports("avx512bf16"), bf16_512},
          {"int16", 32, vnni, int16_512},   {"int8", 64, vnni, int8_512},
          {"fp32_avx2", 8, avx2, fp32_256}, {"int16_avx2", 16, avx2, int16_256}};
}
#else
std::vector<Peak> peaks() { return {}; }
#endif

// All workers at once; of each the best of many short pieces, for others may have its core meanwhile.
struct Rates {
  const Peak* peak;
  std::vector<double> best;

  static void run(void* argument, int worker) {
    auto& self = *static_cast<Rates*>(argument);
    const double operations = static_cast<double>(kRounds) * kChains * self.peak->operations;
    for (int piece = 0; piece < 500; ++piece) {
      const auto start = Clock::now();
      self.peak->run();
      const std::chrono::duration<double> seconds = Clock::now() - start;
      double& best = self.best[static_cast<size_t>(worker)];
      best = std::max(best, operations / seconds.count());
    }
  }
};

double rate(Team& team, const Peak& peak) {
  Rates rates{&peak, std::vector<double>(static_cast<size_t>(team.workers()), 0)};
  team.run(&Rates::run, &rates);
  return std::accumulate(rates.best.begin(), rates.best.end(), 0.0);
}

double barrier_nanoseconds(Team& team) {
  constexpr int kBarriers = 20'000;
  double best = 1e18;
  for (int turn = 0; turn < 5; ++turn) {
    const auto start = Clock::now();
    team.run(
        [](void* of, int) {
          for (int i = 0; i < kBarriers; ++i) static_cast<Team*>(of)->barrier();
        },
        &team);
    const std::chrono::duration<double, std::nano> time = Clock::now() - start;
    best = std::min(best, time.count() / kBarriers);
  }
  return best;
}

int run(int threads) {
  const auto made = Team::create(threads > 0 ? threads : usable_cores());
  if (!made.ok()) return 1;
  Team& team = **made;
  team.insist();
  std::string out = fmt::format("{{\"threads\": {}, \"read_bytes_per_second\": {:.4g}, \"barrier_nanoseconds\": {:.0f}",
                                team.workers(), cli::measure_read_bandwidth(team), barrier_nanoseconds(team));
  out += ", \"multiply_adds_per_second\": {";
  const char* comma = "";
  for (const Peak& peak : peaks()) {
    if (!peak.there) continue;
    out += fmt::format("{}\"{}\": {:.4g}", comma, peak.name, rate(team, peak));
    comma = ", ";
  }
  fmt::print("{}}}}}\n", out);
  return 0;
}

}  // namespace
}  // namespace carat

int main(int argc, char** argv) { return carat::run(argc > 1 ? std::atoi(argv[1]) : 0); }
