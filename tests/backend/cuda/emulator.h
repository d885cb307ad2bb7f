// Kernels as plain C++: what device/base.cuh offers under nvcc, over fibers. Every thread of a block is a fiber with its own
// stack; at a barrier or a shuffle it lets the others run. A block that can never go on is an assertion, not a hang.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/result.h"

namespace carat::cuda::emulator {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

inline constexpr int kMaxWords = 8;  // of a warp's exchange

// Runs kernel(params) for every thread of every block, a cluster of blocks after the other; `together`: all blocks at once, for
// kernels whose blocks wait for each other.
void launch(void (*kernel)(const void*), Index grid, Index block, size_t shared_bytes, const void* params,
            bool together, unsigned cluster);

uint8_t* block_shared_memory();
int cluster_rank();
void cluster_barrier();
// The place in that block's shared memory that `at` is in this one's.
uint8_t* cluster_place(void* at, int rank);
void block_barrier();
void team_barrier(int id, int threads, bool wait);
void yield();
// Every lane gives `count` words; the result points at [32][kMaxWords] of them, valid until the warp's next exchange
// but one.
const uint32_t (*exchange(const uint32_t* words, int count))[kMaxWords];

}  // namespace carat::cuda::emulator

extern carat::cuda::emulator::Index threadIdx, blockIdx, blockDim, gridDim;

#define CARAT_DEVICE static inline
#define CARAT_KERNEL(name, Params, threads, blocks) static void name(const Params p)
#define CARAT_KERNEL_BESIDE(name, Params, registers) static void name(const Params p)
#define CARAT_KERNEL_OF_CLUSTERS(name, Params, threads, size) \
  CARAT_KERNEL_OF_CLUSTERS_BESIDE(name, Params, threads, size, 1)
#define CARAT_KERNEL_OF_CLUSTERS_BESIDE(name, Params, threads, size, blocks) \
  static void name(const Params p);                                          \
  template <>                                                                \
  inline constexpr unsigned kClusterOf<&name> = size;                        \
  static void name(const Params p)
#define CARAT_KERNEL_OF_CLUSTERS_WITHIN(name, Params, size, registers) \
  CARAT_KERNEL_OF_CLUSTERS_BESIDE(name, Params, 0, size, 1)
#define CARAT_UNROLL
#define CARAT_UNROLL_8
#define CARAT_UNROLL_1
#define CARAT_UNROLL_3
#define CARAT_METHOD inline

namespace carat::cuda {

template <auto kKernel>
inline constexpr unsigned kClusterOf = 1;  // blocks

struct alignas(16) Words4 {
  uint32_t x, y, z, w;
};
struct alignas(8) Floats2 {
  float x, y;
};

CARAT_DEVICE uint8_t* shared_memory() { return emulator::block_shared_memory(); }
CARAT_DEVICE float fma_rn(float a, float b, float c) { return std::fma(a, b, c); }
CARAT_DEVICE float div_rn(float a, float b) { return a / b; }
CARAT_DEVICE float sqrt_rn(float a) { return std::sqrt(a); }
CARAT_DEVICE float div_moderate(float a, float b) { return a / b; }
CARAT_DEVICE float sqrt_moderate(float a) { return std::sqrt(a); }
CARAT_DEVICE float no_less(float value, float bound) { return value < bound || bound != bound ? bound : value; }
CARAT_DEVICE float no_more(float value, float bound) { return value > bound || bound != bound ? bound : value; }
CARAT_DEVICE int round_to_int(float a) {
  return std::isnan(a) ? 0 : static_cast<int>(std::nearbyint(std::fmin(std::fmax(a, -2147483648.0f), 2147483520.0f)));
}
CARAT_DEVICE float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
CARAT_DEVICE uint32_t float_bits(float a) {
  uint32_t bits;
  std::memcpy(&bits, &a, 4);
  return bits;
}
CARAT_DEVICE double bits_to_double(uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, 8);
  return value;
}
CARAT_DEVICE uint64_t double_bits(double a) {
  uint64_t bits;
  std::memcpy(&bits, &a, 8);
  return bits;
}
CARAT_DEVICE float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return bits_to_float(float_bits(magnitude) | sign);
  }
  if (exponent == 31) return bits_to_float(sign | 0x7f800000u | (mantissa << 13));
  return bits_to_float(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}
CARAT_DEVICE uint16_t float_to_half(float value) {
  const uint32_t bits = float_bits(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7fffu;
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    return static_cast<uint16_t>(sign | (float_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | (((magnitude + 0xfffu + ((magnitude >> 13) & 1u)) >> 13) - (112u << 10)));
}
CARAT_DEVICE uint16_t int_to_half(int value) { return float_to_half(static_cast<float>(value)); }
CARAT_DEVICE int shift_add_7(int a, int b) { return a * 128 + b; }
CARAT_DEVICE int fresh(int value) { return value; }
CARAT_DEVICE float here(float value) { return value; }
CARAT_DEVICE void keep_order() {}
CARAT_DEVICE void block_barrier() { emulator::block_barrier(); }
CARAT_DEVICE void team_barrier(int id, int threads) { emulator::team_barrier(id, threads, true); }
CARAT_DEVICE void team_meet(int id, int threads) { emulator::team_barrier(id, threads, true); }
CARAT_DEVICE void team_arrive(int id, int threads) { emulator::team_barrier(id, threads, false); }
CARAT_DEVICE void warp_barrier() {
  const uint32_t none = 0;
  emulator::exchange(&none, 1);
}
CARAT_DEVICE int emulated_lane() { return static_cast<int>(threadIdx.x & 31); }
template <class T>
T from_lane(T value, int lane) {
  static_assert(sizeof(T) % 4 == 0 && sizeof(T) <= 32);
  uint32_t words[sizeof(T) / 4];
  std::memcpy(words, &value, sizeof(T));
  const auto* all = emulator::exchange(words, sizeof(T) / 4);
  T out;
  std::memcpy(&out, all[lane & 31], sizeof(T));
  return out;
}
template <class T>
T from_lane_xor(T value, int mask) {
  return from_lane(value, emulated_lane() ^ mask);
}
template <class T>
T from_lane_below(T value, int delta) {
  const int lane = emulated_lane();
  return from_lane(value, lane >= delta ? lane - delta : lane);
}
CARAT_DEVICE uint32_t warp_max(uint32_t value) {
  const auto* all = emulator::exchange(&value, 1);
  uint32_t largest = 0;
  for (int i = 0; i < 32; ++i) largest = all[i][0] > largest ? all[i][0] : largest;
  return largest;
}
CARAT_DEVICE int warp_add(int value) {
  const auto word = static_cast<uint32_t>(value);
  const auto* all = emulator::exchange(&word, 1);
  uint32_t sum = 0;
  for (int i = 0; i < 32; ++i) sum += all[i][0];
  return static_cast<int>(sum);
}
CARAT_DEVICE int emulated_byte(uint32_t word, int i) { return static_cast<int8_t>(word >> (8 * i)); }
CARAT_DEVICE int dot4(uint32_t a, uint32_t b, int sum) {
  for (int i = 0; i < 4; ++i) sum += emulated_byte(a, i) * emulated_byte(b, i);
  return sum;
}
CARAT_DEVICE uint32_t choose_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i)
    out |= static_cast<uint32_t>((both >> (8 * ((selector >> (4 * i)) & 7))) & 255) << (8 * i);
  return out;
}
// Fragments of m16n8k32: lane = 4 * group + t; a0 (group, 4t..), a1 (group + 8, 4t..), a2 (group, 16 + 4t..), a3; b0 column
// `group`, k = 4t.., b1 k = 16 + 4t..; d0, d1 (group, 2t and 2t + 1), d2, d3 (group + 8).
CARAT_DEVICE void mma_k32(int* d, const uint32_t* a, uint32_t b0, uint32_t b1) {
  const uint32_t words[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const auto* all = emulator::exchange(words, 6);
  const int group = emulated_lane() / 4, t = emulated_lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = group, column = 2 * t + i % 2;
    for (int k = 0; k < 4; ++k) {
      d[i] = dot4(all[4 * row + k][i / 2], all[4 * column + k][4], d[i]);
      d[i] = dot4(all[4 * row + k][2 + i / 2], all[4 * column + k][5], d[i]);
    }
  }
}
CARAT_DEVICE void mma_k32_from(int* d, const uint32_t* a, uint32_t b0, uint32_t b1, int c) {
  for (int i = 0; i < 4; ++i) d[i] = c;
  mma_k32(d, a, b0, b1);
}
CARAT_DEVICE void mma_k16_from(int* d, uint32_t a0, uint32_t a1, uint32_t b, int c) {
  const uint32_t a[4] = {a0, a1, 0, 0};
  mma_k32_from(d, a, b, 0, c);
}
CARAT_DEVICE void mma_k16(int* d, uint32_t a0, uint32_t a1, uint32_t b) {
  const uint32_t a[4] = {a0, a1, 0, 0};
  mma_k32(d, a, b, 0);
}
CARAT_DEVICE float emulated_bf16(uint32_t word, int i) { return bits_to_float((word >> (16 * i)) << 16); }
CARAT_DEVICE float emulated_half(uint32_t word, int i) {
  return half_to_float(static_cast<uint16_t>(word >> (16 * i)));
}
// m16n8k16: a0 (group, 2t..), a1 (group + 8), a2 (group, 8 + 2t..), a3; b0 (column group, 2t..), b1 (8 + 2t..)
template <float (*kValue)(uint32_t, int)>
void emulated_mma_16_bits(float* d, const uint32_t* a, uint32_t b0, uint32_t b1) {
  const uint32_t words[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const auto* all = emulator::exchange(words, 6);
  const int group = emulated_lane() / 4, t = emulated_lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int column = 2 * t + i % 2;
    for (int half = 0; half < 2; ++half) {
      for (int k = 0; k < 4; ++k) {
        for (int j = 0; j < 2; ++j) {
          d[i] += kValue(all[4 * group + k][2 * half + i / 2], j) * kValue(all[4 * column + k][4 + half], j);
        }
      }
    }
  }
}
CARAT_DEVICE void mma_bf16(float* d, const uint32_t* a, uint32_t b0, uint32_t b1) {
  emulated_mma_16_bits<emulated_bf16>(d, a, b0, b1);
}
CARAT_DEVICE void mma_f16(float* d, const uint32_t* a, uint32_t b0, uint32_t b1) {
  emulated_mma_16_bits<emulated_half>(d, a, b0, b1);
}
CARAT_DEVICE uint32_t pack_halves(float low, float high) {
  return static_cast<uint32_t>(float_to_half(high)) << 16 | float_to_half(low);
}
CARAT_DEVICE uint32_t pack_bf16(float low, float high) {
  const auto to_bf16 = [](float value) {
    const uint32_t bits = float_bits(value);
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  };
  return to_bf16(high) << 16 | to_bf16(low);
}
CARAT_DEVICE uint32_t masked_or(uint32_t a, uint32_t mask, uint32_t bits) { return (a & mask) | bits; }
CARAT_DEVICE uint32_t halves_minus(uint32_t a, uint32_t b) {
  return pack_halves(emulated_half(a, 0) - emulated_half(b, 0), emulated_half(a, 1) - emulated_half(b, 1));
}
CARAT_DEVICE float exp2_near(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }
CARAT_DEVICE float tanh_rough(float x) { return std::tanh(x); }
CARAT_DEVICE float inverse_near(float x) { return 1.0f / x; }
CARAT_DEVICE uint32_t transpose_8x8(uint32_t word) {
  const auto* all = emulator::exchange(&word, 1);
  const int row = emulated_lane() / 4, t = emulated_lane() % 4;
  const auto element = [&](int r) { return (all[4 * r + row / 2][0] >> (16 * (row % 2))) & 0xffffu; };
  return element(2 * t) | element(2 * t + 1) << 16;
}
CARAT_DEVICE Words4 load_transposed(const uint8_t* row) {
  const uint64_t address = reinterpret_cast<uintptr_t>(row);
  const uint32_t words[2] = {static_cast<uint32_t>(address), static_cast<uint32_t>(address >> 32)};
  const auto* all = emulator::exchange(words, 2);
  uint32_t out[4];
  for (int m = 0; m < 4; ++m) {
    uint16_t of[2];
    for (int i = 0; i < 2; ++i) {
      const uint32_t* lane = all[8 * m + 2 * (emulated_lane() % 4) + i];
      const auto at = static_cast<uintptr_t>(uint64_t{lane[1]} << 32 | lane[0]);
      std::memcpy(of + i, reinterpret_cast<const uint8_t*>(at) + emulated_lane() / 4 * 2, 2);
    }
    out[m] = static_cast<uint32_t>(of[1]) << 16 | of[0];
  }
  return {out[0], out[1], out[2], out[3]};
}
inline constexpr bool kWarpgroups = true;
CARAT_DEVICE void warpgroup_begin() {}
CARAT_DEVICE void warpgroup_commit() {}
template <int kOpen>
void warpgroup_wait() {}
template <int kCount>
void fewer_registers() {}
template <int kCount>
void more_registers() {}
inline constexpr auto kOfBf16 = [](uint16_t bits) { return emulated_bf16(bits, 0); };
template <int kColumns = 144, class ToFloat>
void emulated_warpgroup_mma(float* d, const uint8_t* a, const uint8_t* b, int group_bytes, bool from_zero,
                            ToFloat to_float) {
  const int lane = emulated_lane(), row = static_cast<int>(threadIdx.x / 32 % 4) * 16 + lane / 4;
  const auto values = [&](const uint8_t* of, int r, float* out) {
    for (int k = 0; k < 16; ++k) {
      uint16_t bits;
      std::memcpy(&bits, of + r / 8 * group_bytes + k / 8 * 128 + r % 8 * 16 + k % 8 * 2, 2);
      out[k] = to_float(bits);
    }
  };
  float rows[2][16], column[16];
  values(a, row, rows[0]);
  values(a, row + 8, rows[1]);
  for (int i = 0; i < kColumns / 4; ++i) {
    values(b, i / 2 * 8 + lane % 4 * 2 + i % 2, column);
    for (int half = 0; half < 2; ++half) {
      float& sum = d[i / 2 * 4 + half * 2 + i % 2];
      if (from_zero) sum = 0.0f;
      for (int k = 0; k < 16; ++k) sum += rows[half][k] * column[k];
    }
  }
}
CARAT_DEVICE void warpgroup_mma_f16(float* d, const uint8_t* a, const uint8_t* b, int group_bytes, bool from_zero) {
  emulated_warpgroup_mma(d, a, b, group_bytes, from_zero, [](uint16_t bits) { return half_to_float(bits); });
}
CARAT_DEVICE void warpgroup_mma_bf16(float* d, const uint8_t* a, const uint8_t* b, int group_bytes, bool from_zero) {
  emulated_warpgroup_mma(d, a, b, group_bytes, from_zero, kOfBf16);
}
CARAT_DEVICE void warpgroup_mma_bf16_32(float* d, const uint8_t* a, const uint8_t* b, int group_bytes, bool from_zero) {
  emulated_warpgroup_mma<32>(d, a, b, group_bytes, from_zero, kOfBf16);
}
CARAT_DEVICE void warpgroup_mma_bf16_112(float* d, const uint8_t* a, const uint8_t* b, int group_bytes,
                                         bool from_zero) {
  emulated_warpgroup_mma<112>(d, a, b, group_bytes, from_zero, kOfBf16);
}
CARAT_DEVICE void warpgroup_mma_bf16_224(float* d, const uint8_t* a, const uint8_t* b, int group_bytes,
                                         bool from_zero) {
  emulated_warpgroup_mma<224>(d, a, b, group_bytes, from_zero, kOfBf16);
}
CARAT_DEVICE void warpgroup_keep_64(float*) {}
CARAT_DEVICE void warpgroup_keep_72(float*) {}
struct Cores {
  const uint8_t* at;
  int row_bytes, column_bytes;

  uint16_t bits(int row, int column) const {
    uint16_t value;
    std::memcpy(&value, at + row / 8 * row_bytes + column / 8 * column_bytes + row % 8 * 16 + column % 8 * 2, 2);
    return value;
  }
  float value(int row, int column) const { return half_to_float(bits(row, column)); }
};
CARAT_DEVICE Cores cores_at(const uint8_t* shared, int group_bytes) { return {shared, group_bytes, 128}; }
CARAT_DEVICE Cores cores_of(const uint8_t* shared, int row_bytes, int column_bytes) {
  return {shared, row_bytes, column_bytes};
}
CARAT_DEVICE Cores swizzled_rows(const uint8_t* shared, int column_bytes, int row_bytes) {
  return {shared, row_bytes, column_bytes};
}
CARAT_DEVICE Cores cores_after(Cores cores, int bytes) {
  cores.at += bytes;
  return cores;
}
template <int kRows>
void emulated_warpgroup_rows(float* d, const uint32_t* a, Cores b, bool from_zero) {
  const auto* all = emulator::exchange(a, 4);
  const int lane = emulated_lane();
  float rows[2][16], column[16];
  for (int half = 0; half < 2; ++half) {
    for (int k = 0; k < 16; ++k) {
      rows[half][k] = emulated_half(all[lane / 4 * 4 + k % 8 / 2][k / 8 * 2 + half], k % 2);
    }
  }
  for (int i = 0; i < kRows / 4; ++i) {
    for (int k = 0; k < 16; ++k) column[k] = b.value(i / 2 * 8 + lane % 4 * 2 + i % 2, k);
    for (int half = 0; half < 2; ++half) {
      float& sum = d[i / 2 * 4 + half * 2 + i % 2];
      if (from_zero) sum = 0.0f;
      for (int k = 0; k < 16; ++k) sum += rows[half][k] * column[k];
    }
  }
}
template <int kRows, class ToFloat>
void emulated_warpgroup_cores(float* d, Cores a, Cores b, bool from_zero, ToFloat to_float) {
  const int lane = emulated_lane(), row = static_cast<int>(threadIdx.x / 32 % 4) * 16 + lane / 4;
  float rows[2][16], column[16];
  for (int half = 0; half < 2; ++half) {
    for (int k = 0; k < 16; ++k) rows[half][k] = to_float(a.bits(row + half * 8, k));
  }
  for (int i = 0; i < kRows / 4; ++i) {
    for (int k = 0; k < 16; ++k) column[k] = to_float(b.bits(i / 2 * 8 + lane % 4 * 2 + i % 2, k));
    for (int half = 0; half < 2; ++half) {
      float& sum = d[i / 2 * 4 + half * 2 + i % 2];
      if (from_zero) sum = 0.0f;
      for (int k = 0; k < 16; ++k) sum += rows[half][k] * column[k];
    }
  }
}
CARAT_DEVICE void warpgroup_mma_scores(float* d, Cores a, Cores b, bool from_zero) {
  emulated_warpgroup_cores<64>(d, a, b, from_zero, [](uint16_t bits) { return half_to_float(bits); });
}
CARAT_DEVICE void warpgroup_mma_head(float* d, Cores a, Cores b) {
  emulated_warpgroup_cores<256>(d, a, b, false, kOfBf16);
}
CARAT_DEVICE void warpgroup_mma_values(float* d, const uint32_t* a, Cores b) {
  const auto* all = emulator::exchange(a, 4);
  const int lane = emulated_lane();
  for (int i = 0; i < 128; ++i) {
    const int column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      uint16_t bits;
      const int place = column % 64 / 8 ^ k % 8;
      std::memcpy(&bits,
                  b.at + column / 64 * b.column_bytes + k / 8 * b.row_bytes + k % 8 * 128 + place * 16 + column % 8 * 2,
                  2);
      d[i] += emulated_half(all[lane / 4 * 4 + k % 8 / 2][k / 8 * 2 + i / 2 % 2], k % 2) * half_to_float(bits);
    }
  }
}
CARAT_DEVICE void warpgroup_keep_values(float*) {}
CARAT_DEVICE void stores_for_products() {}
CARAT_DEVICE void warpgroup_mma_f16_64(float* d, const uint32_t* a, Cores b, bool from_zero) {
  emulated_warpgroup_rows<64>(d, a, b, from_zero);
}
CARAT_DEVICE void warpgroup_mma_f16_72(float* d, const uint32_t* a, Cores b, bool from_zero) {
  emulated_warpgroup_rows<72>(d, a, b, from_zero);
}
CARAT_DEVICE void copy_async_16(void* shared, const void* global) { std::memcpy(shared, global, 16); }
CARAT_DEVICE void copy_async_commit() {}
template <int kPending>
void copy_async_wait() {}
inline constexpr bool kBulkCopies = true;
struct EmulatedArrival {
  int32_t bytes;
  uint32_t pending : 15, count : 15, phase : 2;

  void look() {
    if (pending != 0 || bytes != 0) return;
    pending = count;
    phase ^= 1;
  }
};
CARAT_DEVICE EmulatedArrival* emulated_arrival(uint64_t* arrival) {
  return reinterpret_cast<EmulatedArrival*>(arrival);
}
CARAT_DEVICE void arrival_init(uint64_t* arrival, int count) {
  *emulated_arrival(arrival) = {0, static_cast<uint32_t>(count) & 0x7fff, static_cast<uint32_t>(count) & 0x7fff, 0};
}
CARAT_DEVICE void arrival_fence() {}
CARAT_DEVICE void arrival_wait(uint64_t* arrival, uint32_t parity) {
  while (emulated_arrival(arrival)->phase == parity) emulator::yield();
}
CARAT_DEVICE void arrival_expect(uint64_t* arrival, uint32_t bytes) {
  emulated_arrival(arrival)->bytes += static_cast<int32_t>(bytes);
  --emulated_arrival(arrival)->pending;
  emulated_arrival(arrival)->look();
}
CARAT_DEVICE void bulk_copy(void* shared, const void* global, uint32_t bytes, uint64_t* arrival) {
  CARAT_ASSERT((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global) | bytes) % 16 == 0);
  std::memcpy(shared, global, bytes);
  emulated_arrival(arrival)->bytes -= static_cast<int32_t>(bytes);
  emulated_arrival(arrival)->look();
}
CARAT_DEVICE void arrival_arrive(uint64_t* arrival) {
  --emulated_arrival(arrival)->pending;
  emulated_arrival(arrival)->look();
}
inline constexpr bool kClusters = true;
CARAT_DEVICE int cluster_rank() { return emulator::cluster_rank(); }
CARAT_DEVICE void cluster_barrier() { emulator::cluster_barrier(); }
template <class T>
T* cluster_place(T* at, int rank) {
  return reinterpret_cast<T*>(emulator::cluster_place(at, rank));
}
CARAT_DEVICE void cluster_come() {}
CARAT_DEVICE void cluster_meet() { emulator::cluster_barrier(); }
template <class T>
void cluster_store(T* at, int rank, T value) {
  *cluster_place(at, rank) = value;
}
CARAT_DEVICE float cluster_load(const float* at, int rank) { return *cluster_place(const_cast<float*>(at), rank); }
CARAT_DEVICE void cluster_copy(void* shared, const void* global, uint32_t bytes, uint64_t* arrival, int ranks) {
  for (int rank = 0; rank < 16; ++rank) {
    if ((ranks >> rank & 1) == 0) continue;
    bulk_copy(cluster_place(static_cast<uint8_t*>(shared), rank), global, bytes, cluster_place(arrival, rank));
  }
}
CARAT_DEVICE void cluster_arrive(uint64_t* arrival, int rank) { arrival_arrive(cluster_place(arrival, rank)); }
CARAT_DEVICE void copy_async_arrive(uint64_t* arrival) {
  --emulated_arrival(arrival)->pending;
  emulated_arrival(arrival)->look();
}
CARAT_DEVICE Words4 load_once_16(const void* p) {
  Words4 v;
  std::memcpy(&v, p, 16);
  return v;
}
CARAT_DEVICE uint64_t load_fresh(const uint64_t* p) { return *static_cast<const volatile uint64_t*>(p); }
CARAT_DEVICE float load_fresh(const float* p) { return *static_cast<const volatile float*>(p); }
CARAT_DEVICE uint32_t load_fresh(const uint32_t* p) { return *static_cast<const volatile uint32_t*>(p); }
CARAT_DEVICE void prefetch_l2(const void*) {}
CARAT_DEVICE void store_fresh(uint64_t* p, uint64_t v) { *static_cast<volatile uint64_t*>(p) = v; }
CARAT_DEVICE void store_fresh(Words4* p, const Words4& v) { *p = v; }
CARAT_DEVICE Words4 load_fresh(const Words4* p) { return *p; }
CARAT_DEVICE bool warp_all(bool value) {
  const uint32_t word = value ? 1 : 0;
  const auto* all = emulator::exchange(&word, 1);
  uint32_t both = 1;
  for (int i = 0; i < 32; ++i) both &= all[i][0];
  return both != 0;
}
CARAT_DEVICE void previous_wait() {}
CARAT_DEVICE void next_may_begin() {}
CARAT_DEVICE uint64_t nanoseconds() { return 0; }
CARAT_DEVICE uint64_t cycles() { return 0; }
#define CARAT_OUTLINE static
CARAT_DEVICE void atomic_max(uint32_t* p, uint32_t value) { *p = *p < value ? value : *p; }
CARAT_DEVICE void atomic_max(uint64_t* p, uint64_t value) { *p = *p < value ? value : *p; }
CARAT_DEVICE uint64_t atomic_add(uint64_t* p, uint64_t value) {
  const uint64_t before = *p;
  *p += value;
  return before;
}

}  // namespace carat::cuda
