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
// Of so many registers a thread at most, so that another kernel's block has room beside one of its own.
#define CARAT_KERNEL_BESIDE(name, Params, registers) \
  extern "C" __global__ void __maxnreg__(registers) name(const __grid_constant__ Params p)
#define CARAT_UNROLL _Pragma("unroll")
#define CARAT_UNROLL_8 _Pragma("unroll 8")
#define CARAT_UNROLL_1 _Pragma("unroll 1")
#define CARAT_UNROLL_3 _Pragma("unroll 3")
#define CARAT_METHOD __device__ __forceinline__

extern __shared__ __align__(128) uint8_t carat_shared_memory[];

namespace carat::cuda {

struct alignas(16) Words4 {
  uint32_t x, y, z, w;
};
struct alignas(8) Floats2 {
  float x, y;
};

CARAT_DEVICE uint8_t* shared_memory() { return carat_shared_memory; }
CARAT_DEVICE float fma_rn(float a, float b, float c) { return __fmaf_rn(a, b, c); }
CARAT_DEVICE float div_rn(float a, float b) { return __fdiv_rn(a, b); }
CARAT_DEVICE float sqrt_rn(float a) { return __fsqrt_rn(a); }
// The same where nothing of it is large or small (is_moderate): what the compiler makes of these without what it does for the
// rest, whose branches keep it from computing two side by side.
CARAT_DEVICE float div_moderate(float a, float b) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(b));
  r = __fmaf_rn(r, __fmaf_rn(-b, r, 1.0f), r);
  const float q = r * a;
  return __fmaf_rn(r, __fmaf_rn(-b, q, a), q);
}
CARAT_DEVICE float sqrt_moderate(float a) {
  float r;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
  const float s = a * r;
  return __fmaf_rn(__fmaf_rn(-s, s, a), 0.5f * r, s);
}
CARAT_DEVICE int round_to_int(float a) { return __float2int_rn(a); }  // nearest, ties to even
CARAT_DEVICE float bits_to_float(uint32_t bits) { return __uint_as_float(bits); }
CARAT_DEVICE uint32_t float_bits(float a) { return __float_as_uint(a); }
CARAT_DEVICE double bits_to_double(uint64_t bits) { return __longlong_as_double(static_cast<long long>(bits)); }
CARAT_DEVICE uint64_t double_bits(double a) { return static_cast<uint64_t>(__double_as_longlong(a)); }
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
CARAT_DEVICE uint16_t int_to_half(int value) {  // to nearest even
  uint16_t half;
  asm("cvt.rn.f16.s32 %0, %1;" : "=h"(half) : "r"(value));
  return half;
}
CARAT_DEVICE float no_less(float value, float bound) {  // a value that is NaN stays it
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(value), "f"(bound));
  return y;
}
CARAT_DEVICE float no_more(float value, float bound) {
  float y;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(value), "f"(bound));
  return y;
}
CARAT_DEVICE int shift_add_7(int a, int b) {  // 128 a + b, away from the pipe of the fma
  int sum;
  asm("{\n.reg .s32 t;\nshl.b32 t, %1, 7;\nadd.s32 %0, t, %2;\n}" : "=r"(sum) : "r"(a), "r"(b));
  return sum;
}
// The same number, of which the compiler knows nothing: what depends on it is computed where it is used, not kept in a register
// (or in memory, when there is none left) all through a loop.
CARAT_DEVICE int fresh(int value) {
  asm volatile("" : "+r"(value));
  return value;
}
// The same number, computed here: not where it is used, behind a barrier or a condition.
CARAT_DEVICE float here(float value) {
  asm volatile("" : "+f"(value));
  return value;
}
// The compiler moves no load across: it would run out of registers.
CARAT_DEVICE void keep_order() { asm volatile("" ::: "memory"); }
CARAT_DEVICE void block_barrier() { __syncthreads(); }
CARAT_DEVICE void warp_barrier() { __syncwarp(); }
// A barrier of so many threads of a block, by a number of its own (1 to 15); those that only arrive do not wait.
CARAT_DEVICE void team_barrier(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
// The same where the threads come to it at several places of the code.
CARAT_DEVICE void team_meet(int id, int threads) { asm volatile("barrier.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
CARAT_DEVICE void team_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
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
CARAT_DEVICE int warp_add(int value) { return __reduce_add_sync(~0u, value); }
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
CARAT_DEVICE void mma_f16(float* d, const uint32_t* a, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
CARAT_DEVICE uint32_t pack_halves(float low, float high) {  // to nearest even; beyond 65504 is infinity
  uint32_t word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
CARAT_DEVICE uint32_t masked_or(uint32_t a, uint32_t mask, uint32_t bits) {  // in one instruction
  uint32_t word;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(word) : "r"(a), "r"(mask), "r"(bits));
  return word;
}
CARAT_DEVICE uint32_t halves_minus(uint32_t a, uint32_t b) {  // of pairs of halves
  uint32_t word;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(word) : "r"(a), "r"(b));
  return word;
}
CARAT_DEVICE uint32_t pack_bf16(float low, float high) {  // to nearest even
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
// 2^x to 22 bits; below 2^-126 it is 0.
CARAT_DEVICE float exp2_near(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
CARAT_DEVICE float tanh_rough(float x) {  // to 11 bits
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
CARAT_DEVICE float inverse_near(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// A warp's 8 x 8 pairs of bytes, a word of lane 4 r + c holding row r, columns 2 c and 2 c + 1: transposed.
CARAT_DEVICE uint32_t transpose_8x8(uint32_t word) {
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(word));
  return out;
}
// Four such 8 x 8 from shared memory, transposed; lane 8 m + r knows where row r of the m-th lies.
CARAT_DEVICE Words4 load_transposed(const uint8_t* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  Words4 v;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address));
  return v;
}
CARAT_DEVICE void arrival_arrive(uint64_t* arrival) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(address) : "memory");
}
// Products of a warpgroup (four warps), sm_90 only: d += a b for 64 rows of a and 144 rows of b, 16 columns, both in shared
// memory as cores of 8 rows x 16 bytes, those of 8 rows one after the other, `group_bytes` from one 8 rows to the next. Warp w
// holds rows 16 w .., d[4 j + e] as mma has it for columns 8 j .. `from_zero`: d is not read.
//   They run later: begin before the first, then commit; wait<n> leaves n commits open.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool kWarpgroups = true;
CARAT_DEVICE void warpgroup_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
CARAT_DEVICE void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kOpen>
CARAT_DEVICE void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kOpen) : "memory");
}
// Registers of each thread of a warpgroup from here on: fewer for those that copy, more for those that multiply.
template <int kCount>
CARAT_DEVICE void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
CARAT_DEVICE void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
CARAT_DEVICE uint64_t core_descriptor(const uint8_t* shared, int group_bytes) {
  const auto address = static_cast<uint64_t>(__cvta_generic_to_shared(shared));
  return (address >> 4 & 0x3fff) | uint64_t{128 >> 4} << 16 | static_cast<uint64_t>(group_bytes >> 4) << 32;
}
#define CARAT_D8(i)                                                                                                   \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
// For so many rows of b. names: of the operands that are sums; a_at, b_at, from_at: those behind them.
#define CARAT_WARPGROUP_MMA(name, type, rows, names, a_at, b_at, from_at, ...)                                        \
  CARAT_DEVICE void name(float* d, const uint8_t* a, const uint8_t* b, int group_bytes, bool from_zero) {             \
    const uint64_t of_a = core_descriptor(a, group_bytes), of_b = core_descriptor(b, group_bytes);                    \
    asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, " from_at ", 0;\n"                                                 \
                 "wgmma.mma_async.sync.aligned.m64n" rows "k16.f32." type "." type " {" names "}, "                   \
                 a_at ", " b_at ", p, 1, 1, 0, 0;\n}"                                                                 \
                 : __VA_ARGS__                                                                                        \
                 : "l"(of_a), "l"(of_b), "r"(static_cast<int>(from_zero)));                                           \
  }
#define CARAT_NAMES_16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define CARAT_NAMES_56 CARAT_NAMES_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55"
#define CARAT_NAMES_72 CARAT_NAMES_56 ",%56,%57,%58,%59,%60,%61,%62,%63,%64,%65,%66,%67,%68,%69,%70,%71"
#define CARAT_NAMES_112 CARAT_NAMES_72 ",%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111"
#define CARAT_D56 CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24), CARAT_D8(32), CARAT_D8(40), CARAT_D8(48)
#define CARAT_D72 CARAT_D56, CARAT_D8(56), CARAT_D8(64)
#define CARAT_D112 CARAT_D72, CARAT_D8(72), CARAT_D8(80), CARAT_D8(88), CARAT_D8(96), CARAT_D8(104)
CARAT_WARPGROUP_MMA(warpgroup_mma_f16, "f16", "144", CARAT_NAMES_72, "%72", "%73", "%74", CARAT_D72)
CARAT_WARPGROUP_MMA(warpgroup_mma_bf16, "bf16", "144", CARAT_NAMES_72, "%72", "%73", "%74", CARAT_D72)
CARAT_WARPGROUP_MMA(warpgroup_mma_bf16_224, "bf16", "224", CARAT_NAMES_112, "%112", "%113", "%114", CARAT_D112)
CARAT_WARPGROUP_MMA(warpgroup_mma_bf16_32, "bf16", "32", CARAT_NAMES_16, "%16", "%17", "%18", CARAT_D8(0), CARAT_D8(8))
CARAT_WARPGROUP_MMA(warpgroup_mma_bf16_112, "bf16", "112", CARAT_NAMES_56, "%56", "%57", "%58", CARAT_D56)
#undef CARAT_WARPGROUP_MMA
#undef CARAT_NAMES_16
#undef CARAT_NAMES_56
#undef CARAT_NAMES_72
#undef CARAT_NAMES_112
#undef CARAT_D56
#undef CARAT_D72
#undef CARAT_D112
// The same for 64 or 72 rows of b, and a in registers: those of mma for the warp's 16 rows. Cores: where b lies, known once for many.
struct Cores {
  uint64_t descriptor;
};
CARAT_DEVICE Cores cores_at(const uint8_t* shared, int group_bytes) { return {core_descriptor(shared, group_bytes)}; }
CARAT_DEVICE Cores cores_after(Cores cores, int bytes) { return {cores.descriptor + static_cast<uint64_t>(bytes >> 4)}; }
#define CARAT_WARPGROUP_ROWS(rows, names, a0, a1, a2, a3, at_b, zero, ...)                                            \
  CARAT_DEVICE void warpgroup_mma_f16_##rows(float* d, const uint32_t* a, Cores b, bool from_zero) {                  \
    asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, " zero ", 0;\n"                                                   \
                 "wgmma.mma_async.sync.aligned.m64n" #rows "k16.f32.f16.f16 {" names "}, "                            \
                 "{" a0 "," a1 "," a2 "," a3 "}, " at_b ", p, 1, 1, 0;\n}"                                            \
                 : __VA_ARGS__                                                                                        \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor), "r"(static_cast<int>(from_zero)));  \
  }                                                                                                                   \
  /* What is done with d stays on its side of a wait. */                                                              \
  CARAT_DEVICE void warpgroup_keep_##rows(float* d) { asm volatile("" : __VA_ARGS__ : : "memory"); }
#define CARAT_32_NAMES                                                                                                \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
CARAT_WARPGROUP_ROWS(64, CARAT_32_NAMES, "%32", "%33", "%34", "%35", "%36", "%37", CARAT_D8(0), CARAT_D8(8), CARAT_D8(16), CARAT_D8(24))
CARAT_WARPGROUP_ROWS(72, CARAT_32_NAMES ",%32,%33,%34,%35", "%36", "%37", "%38", "%39", "%40", "%41", CARAT_D8(0), CARAT_D8(8), CARAT_D8(16),
                     CARAT_D8(24), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]))
#undef CARAT_WARPGROUP_ROWS
#undef CARAT_32_NAMES
#undef CARAT_D8
#else
inline constexpr bool kWarpgroups = false;
CARAT_DEVICE void warpgroup_begin() {}
CARAT_DEVICE void warpgroup_commit() {}
template <int kOpen>
CARAT_DEVICE void warpgroup_wait() {}
template <int kCount>
CARAT_DEVICE void fewer_registers() {}
template <int kCount>
CARAT_DEVICE void more_registers() {}
CARAT_DEVICE void warpgroup_mma_f16(float*, const uint8_t*, const uint8_t*, int, bool) {}
CARAT_DEVICE void warpgroup_mma_bf16(float*, const uint8_t*, const uint8_t*, int, bool) {}
CARAT_DEVICE void warpgroup_mma_bf16_32(float*, const uint8_t*, const uint8_t*, int, bool) {}
CARAT_DEVICE void warpgroup_mma_bf16_112(float*, const uint8_t*, const uint8_t*, int, bool) {}
CARAT_DEVICE void warpgroup_mma_bf16_224(float*, const uint8_t*, const uint8_t*, int, bool) {}
struct Cores {};
CARAT_DEVICE Cores cores_at(const uint8_t*, int) { return {}; }
CARAT_DEVICE Cores cores_after(Cores, int) { return {}; }
CARAT_DEVICE void warpgroup_mma_f16_64(float*, const uint32_t*, Cores, bool) {}
CARAT_DEVICE void warpgroup_mma_f16_72(float*, const uint32_t*, Cores, bool) {}
CARAT_DEVICE void warpgroup_keep_64(float*) {}
CARAT_DEVICE void warpgroup_keep_72(float*) {}
#endif
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
// One thread's: a multiple of 16 bytes, aligned to 16 on both sides. It takes its operands from registers that belong to the warp: after
// a wait, which lanes may leave one by one, a warp_barrier comes first, and one between copies of different places of the code.
CARAT_DEVICE void bulk_copy(void* shared, const void* global, uint32_t bytes, uint64_t* arrival) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(global), "r"(bytes), "r"(address)
               : "memory");
}
// Blocks of a cluster, from sm_90 on: CARAT_KERNEL_OF_CLUSTERS(name, Params, threads, blocks of a cluster); _BESIDE: so many of them
// a multiprocessor; _WITHIN: of so many registers a thread at most.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define CARAT_KERNEL_OF_CLUSTERS(name, Params, threads, size) CARAT_KERNEL_OF_CLUSTERS_BESIDE(name, Params, threads, size, 1)
#define CARAT_KERNEL_OF_CLUSTERS_BESIDE(name, Params, threads, size, blocks) \
  extern "C" __global__ void __cluster_dims__(size, 1, 1) __launch_bounds__(threads, blocks) name(const __grid_constant__ Params p)
#define CARAT_KERNEL_OF_CLUSTERS_WITHIN(name, Params, size, registers) \
  extern "C" __global__ void __cluster_dims__(size, 1, 1) __maxnreg__(registers) name(const __grid_constant__ Params p)
inline constexpr bool kClusters = true;
CARAT_DEVICE int cluster_rank() {
  int rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// All threads of all of them; what was stored before is there behind it.
CARAT_DEVICE void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// The same in two, of which the first promises nothing: to know that all blocks have begun.
CARAT_DEVICE void cluster_come() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
CARAT_DEVICE void cluster_meet() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// To the place in that block's shared memory that `at` is in this one's.
CARAT_DEVICE uint32_t cluster_place(const void* at, int rank) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(at));
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}
CARAT_DEVICE void cluster_store(int* at, int rank, int value) {
  asm volatile("st.shared::cluster.s32 [%0], %1;" ::"r"(cluster_place(at, rank)), "r"(value) : "memory");
}
CARAT_DEVICE void cluster_store(uint64_t* at, int rank, uint64_t value) {
  asm volatile("st.shared::cluster.u64 [%0], %1;" ::"r"(cluster_place(at, rank)), "l"(value) : "memory");
}
CARAT_DEVICE void cluster_store(float* at, int rank, float value) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(cluster_place(at, rank)), "f"(value) : "memory");
}
// What lies at that place in that block's.
CARAT_DEVICE float cluster_load(const float* at, int rank) {
  float value;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(cluster_place(at, rank)) : "memory");
  return value;
}
// bulk_copy to the same place in all of them, which says so to each block's arrival. `ranks`: a bit each.
CARAT_DEVICE void cluster_copy(void* shared, const void* global, uint32_t bytes, uint64_t* arrival, int ranks) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(to),
      "l"(global), "r"(bytes), "r"(address), "h"(static_cast<uint16_t>(ranks))
      : "memory");
}
// The arrival of the block of that rank. It tells of nothing that was written, only read: releasing that to all would wait for memory.
CARAT_DEVICE void cluster_arrive(uint64_t* arrival, int rank) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
  asm volatile(
      "{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [at];\n}" ::"r"(address), "r"(rank)
      : "memory");
}
#endif
// A thread arrives when the copies that it has begun by copy_async_16 are there.
CARAT_DEVICE void copy_async_arrive(uint64_t* arrival) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(arrival));
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(address) : "memory");
}
// Weights are read once: they must not push the activations out of L1.
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
// A kernel that may begin before the one before it has ended (Launch::early): nothing that other kernels write is touched before
// previous_wait, which every block reaches; next_may_begin lets the next such kernel's blocks come in where there is room.
CARAT_DEVICE void previous_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
CARAT_DEVICE void next_may_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
CARAT_DEVICE bool warp_all(bool value) { return __all_sync(~0u, value) != 0; }
CARAT_DEVICE void prefetch_l2(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
CARAT_DEVICE uint64_t nanoseconds() {
  uint64_t v;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(v));
  return v;
}
// Of the multiprocessor's clock: read sooner than the time.
CARAT_DEVICE uint64_t cycles() {
  uint64_t v;
  asm volatile("mov.u64 %0, %clock64;" : "=l"(v));
  return v;
}
#define CARAT_OUTLINE __device__ __noinline__
CARAT_DEVICE void atomic_max(uint32_t* p, uint32_t value) { atomicMax(p, value); }
CARAT_DEVICE void atomic_max(uint64_t* p, uint64_t value) {
  atomicMax(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(value));
}
// What was there before. Whatever this thread did before is seen by whoever sees the sum.
CARAT_DEVICE uint64_t atomic_add(uint64_t* p, uint64_t value) {
  __threadfence();
  const auto before = atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(value));
  __threadfence();
  return before;
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
// Four neighbours, at a multiple of 16 bytes.
CARAT_DEVICE void four_of(const Words4& v, float* to) {
  to[0] = bits_to_float(v.x), to[1] = bits_to_float(v.y), to[2] = bits_to_float(v.z), to[3] = bits_to_float(v.w);
}
CARAT_DEVICE void load_four(const float* from, float* to) { four_of(load<Words4>(from), to); }
CARAT_DEVICE void store_four(float* to, const float* from) {
  *reinterpret_cast<Words4*>(to) = {float_bits(from[0]), float_bits(from[1]), float_bits(from[2]), float_bits(from[3])};
}
#if !defined(CARAT_KERNEL_OF_CLUSTERS)  // a block alone
#define CARAT_KERNEL_OF_CLUSTERS(name, Params, threads, size) CARAT_KERNEL(name, Params, threads, 1)
#define CARAT_KERNEL_OF_CLUSTERS_BESIDE(name, Params, threads, size, blocks) CARAT_KERNEL(name, Params, threads, blocks)
#define CARAT_KERNEL_OF_CLUSTERS_WITHIN(name, Params, size, registers) CARAT_KERNEL_BESIDE(name, Params, registers)
inline constexpr bool kClusters = false;
CARAT_DEVICE int cluster_rank() { return 0; }
CARAT_DEVICE void cluster_barrier() {}
CARAT_DEVICE void cluster_come() {}
CARAT_DEVICE void cluster_meet() {}
template <class T>
CARAT_DEVICE void cluster_store(T* at, int, const T& value) {
  *at = value;
}
CARAT_DEVICE float cluster_load(const float* at, int) { return *at; }
CARAT_DEVICE void cluster_copy(void* shared, const void* global, uint32_t bytes, uint64_t* arrival, int) {
  bulk_copy(shared, global, bytes, arrival);
}
CARAT_DEVICE void cluster_arrive(uint64_t* arrival, int) { arrival_arrive(arrival); }
#endif
CARAT_DEVICE int least(int a, int b) { return a < b ? a : b; }
CARAT_DEVICE int most(int a, int b) { return a > b ? a : b; }

}  // namespace carat::cuda
