// What the kernels are written in: CUDA C++ under nvcc or NVRTC, or plain C++ under the emulator of the tests, which runs
// every thread of a block as a fiber. So a kernel's arithmetic, its barriers and its shuffles are tested without a GPU.
//
// No contraction (the compiler is called with -fmad=false), explicit fma: the bits are those of the CPU's kernels.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)

#if defined(__CUDACC_RTC__)
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
#else
#include <cstdint>
#endif

#define CARAT_DEVICE __device__ __forceinline__
// CARAT_KERNEL(name, parameter struct, largest block, blocks a multiprocessor should hold)
#define CARAT_KERNEL(name, Params, threads, blocks) \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Params p)
#define CARAT_UNROLL _Pragma("unroll")
#define CARAT_UNROLL_8 _Pragma("unroll 8")
#define CARAT_UNROLL_1 _Pragma("unroll 1")
#define CARAT_UNROLL_3 _Pragma("unroll 3")
#define CARAT_METHOD __device__ __forceinline__

extern __shared__ __align__(128) uint8_t carat_shared_memory[];

namespace carat::cuda {

CARAT_DEVICE uint8_t* shared_memory() { return carat_shared_memory; }
CARAT_DEVICE float fma_rn(float a, float b, float c) { return __fmaf_rn(a, b, c); }
CARAT_DEVICE float div_rn(float a, float b) { return __fdiv_rn(a, b); }
CARAT_DEVICE float sqrt_rn(float a) { return __fsqrt_rn(a); }
CARAT_DEVICE int round_to_int(float a) { return __float2int_rn(a); }  // nearest, ties to even
CARAT_DEVICE float bits_to_float(uint32_t bits) { return __uint_as_float(bits); }
CARAT_DEVICE uint32_t float_bits(float a) { return __float_as_uint(a); }
CARAT_DEVICE float half_to_float(uint16_t half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
}
CARAT_DEVICE uint16_t float_to_half(float value) {
  uint16_t half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
}
CARAT_DEVICE int shift_add_7(int a, int b) {  // 128 a + b, away from the pipe of the fma
  int sum;
  asm("{\n.reg .s32 t;\nshl.b32 t, %1, 7;\nadd.s32 %0, t, %2;\n}" : "=r"(sum) : "r"(a), "r"(b));
  return sum;
}
// The compiler moves no load across: it would run out of registers.
CARAT_DEVICE void keep_order() { asm volatile("" ::: "memory"); }
CARAT_DEVICE void block_barrier() { __syncthreads(); }
CARAT_DEVICE void warp_barrier() { __syncwarp(); }
template <class T>
CARAT_DEVICE T from_lane_xor(T value, int mask) {
  return __shfl_xor_sync(~0u, value, mask);
}
template <class T>
CARAT_DEVICE T from_lane_below(T value, int delta) {  // the own value where there is no such lane
  return __shfl_up_sync(~0u, value, delta);
}
template <class T>
CARAT_DEVICE T from_lane(T value, int lane) {
  return __shfl_sync(~0u, value, lane);
}
CARAT_DEVICE uint32_t warp_max(uint32_t value) { return __reduce_max_sync(~0u, value); }
CARAT_DEVICE int dot4(uint32_t unsigned_bytes, uint32_t signed_bytes, int sum) {  // values below 128 are either
  return __dp4a(static_cast<int>(unsigned_bytes), static_cast<int>(signed_bytes), sum);
}
CARAT_DEVICE uint32_t choose_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  return __byte_perm(low, high, selector);
}
// d = a b + d: 16 x 32 signed bytes times 32 x 8, fragments as the PTX manual has them (m16n8k32).
CARAT_DEVICE void mma_k32(int* d, const uint32_t* a, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same from c instead of d.
CARAT_DEVICE void mma_k32_from(int* d, const uint32_t* a, uint32_t b0, uint32_t b1, int c) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%10,%10,%10,%10};"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c));
}
CARAT_DEVICE void mma_k16_from(int* d, uint32_t a0, uint32_t a1, uint32_t b, int c) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5},{%6},{%7,%7,%7,%7};"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(a0), "r"(a1), "r"(b), "r"(c));
}
CARAT_DEVICE void mma_k16(int* d, uint32_t a0, uint32_t a1, uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a0), "r"(a1), "r"(b));
}
CARAT_DEVICE void mma_bf16(float* d, const uint32_t* a, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// Sixteen bytes from global into shared memory, later; commit closes a group, wait leaves the `kPending` youngest open.
CARAT_DEVICE void copy_async_16(void* shared, const void* global) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
}
CARAT_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
CARAT_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}
// An arrival: eight bytes of shared memory that count what is still to come, arrivals and bytes; when nothing is, its phase
// ends and the next one begins. wait(parity) waits for the end of a phase of that parity; the first one's is 0.
CARAT_DEVICE void arrival_init(uint64_t* arrival, int count) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address), "r"(count) : "memory");
}
// After the inits, before a block_barrier.
CARAT_DEVICE void arrival_fence() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
CARAT_DEVICE void arrival_wait(uint64_t* arrival, uint32_t parity) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n.reg .pred p;\nWAIT_%=:\nmbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n@!p bra WAIT_%=;\n}" ::"r"(address),
      "r"(parity)
      : "memory");
#else
  asm volatile(
      "{\n.reg .pred p;\nWAIT_%=:\nmbarrier.test_wait.parity.shared.b64 p, [%0], %1;\n@!p bra WAIT_%=;\n}" ::"r"(address),
      "r"(parity)
      : "memory");
#endif
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
inline constexpr bool kBulkCopies = true;
#else
inline constexpr bool kBulkCopies = false;
#endif
// One thread's: an arrival, and so many bytes that bulk copies will bring.
CARAT_DEVICE void arrival_expect(uint64_t* arrival, uint32_t bytes) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(address), "r"(bytes) : "memory");
}
// One thread's: a multiple of 16 bytes, aligned to 16 on both sides.
CARAT_DEVICE void bulk_copy(void* shared, const void* global, uint32_t bytes, uint64_t* arrival) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(global), "r"(bytes), "r"(address)
               : "memory");
}
// A thread arrives when the copies that it has begun by copy_async_16 are there.
CARAT_DEVICE void copy_async_arrive(uint64_t* arrival) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(address) : "memory");
}
// Weights are read once: they must not push the activations out of L1.
struct alignas(16) Words4 {
  uint32_t x, y, z, w;
};
struct alignas(8) Floats2 {
  float x, y;
};
CARAT_DEVICE Words4 load_once_16(const void* p) {
  Words4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3},[%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
// What another block may have written in this launch: past L1.
CARAT_DEVICE uint64_t load_fresh(const uint64_t* p) {
  uint64_t v;
  asm volatile("ld.relaxed.gpu.global.u64 %0,[%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
CARAT_DEVICE float load_fresh(const float* p) {
  float v;
  asm volatile("ld.relaxed.gpu.global.f32 %0,[%1];" : "=f"(v) : "l"(p) : "memory");
  return v;
}
CARAT_DEVICE uint32_t load_fresh(const uint32_t* p) {
  uint32_t v;
  asm volatile("ld.relaxed.gpu.global.u32 %0,[%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
// Words that tell other blocks something, with the epoch that says of when: whole or not at all.
CARAT_DEVICE void store_fresh(uint64_t* p, uint64_t v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0],%1;" ::"l"(p), "l"(v) : "memory");
}
CARAT_DEVICE void store_fresh(Words4* p, const Words4& v) {
  const uint64_t low = static_cast<uint64_t>(v.y) << 32 | v.x, high = static_cast<uint64_t>(v.w) << 32 | v.z;
  asm volatile("{\n.reg .b128 t;\nmov.b128 t, {%1,%2};\nst.relaxed.gpu.global.b128 [%0], t;\n}" ::"l"(p), "l"(low), "l"(high)
               : "memory");
}
CARAT_DEVICE Words4 load_fresh(const Words4* p) {
  uint64_t low, high;
  asm volatile("{\n.reg .b128 t;\nld.relaxed.gpu.global.b128 t, [%2];\nmov.b128 {%0,%1}, t;\n}"
               : "=l"(low), "=l"(high)
               : "l"(p)
               : "memory");
  return {static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32), static_cast<uint32_t>(high),
          static_cast<uint32_t>(high >> 32)};
}
CARAT_DEVICE bool warp_all(bool value) { return __all_sync(~0u, value) != 0; }
CARAT_DEVICE void prefetch_l2(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
CARAT_DEVICE uint64_t nanoseconds() {
  uint64_t v;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(v));
  return v;
}
#define CARAT_OUTLINE __device__ __noinline__
CARAT_DEVICE void atomic_max(uint64_t* p, uint64_t value) {
  atomicMax(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(value));
}

}  // namespace carat::cuda

#else
#include "backend/cuda/emulator.h"
#endif

namespace carat::cuda {

CARAT_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
CARAT_DEVICE int lane_index() { return static_cast<int>(threadIdx.x & 31); }
CARAT_DEVICE int warp_index() { return static_cast<int>(threadIdx.x >> 5); }
CARAT_DEVICE int block_threads() { return static_cast<int>(blockDim.x); }

template <class T>
CARAT_DEVICE T load(const void* p) {
  return *static_cast<const T*>(p);
}
CARAT_DEVICE int least(int a, int b) { return a < b ? a : b; }
CARAT_DEVICE int most(int a, int b) { return a > b ? a : b; }

}  // namespace carat::cuda
