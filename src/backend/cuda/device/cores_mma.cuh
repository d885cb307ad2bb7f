// More products of warpgroups (device/base.cuh): with both operands in shared memory, and attention's values, 256 columns of them, as they lie in the
// cache: a row a key. Cores are 8 x 16 bytes here too; what differs is how far it is from one to the next.
#pragma once

#include "backend/cuda/device/base.cuh"

namespace carat::cuda {

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CARAT_F8(i)                                                                                                   \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define CARAT_F128                                                                                                     \
  CARAT_F8(0), CARAT_F8(8), CARAT_F8(16), CARAT_F8(24), CARAT_F8(32), CARAT_F8(40), CARAT_F8(48), CARAT_F8(56), CARAT_F8(64), \
      CARAT_F8(72), CARAT_F8(80), CARAT_F8(88), CARAT_F8(96), CARAT_F8(104), CARAT_F8(112), CARAT_F8(120)
#define CARAT_128_NAMES                                                                                                \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63," \
  "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95," \
  "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
// Cores whose next 8 rows are `row_bytes` further, and whose next 8 columns `column_bytes`.
CARAT_DEVICE Cores cores_of(const uint8_t* shared, int row_bytes, int column_bytes) {
  const auto address = static_cast<uint64_t>(__cvta_generic_to_shared(shared));
  return {(address >> 4 & 0x3fff) | static_cast<uint64_t>(column_bytes >> 4) << 16 | static_cast<uint64_t>(row_bytes >> 4) << 32};
}
// Rows of 64 columns (128 bytes, eight of them 1,024) whose sixteen bytes have changed places, those of row r with `place ^ r % 8`: copied along a row, and
// read across rows, they are in different banks. The next 64 columns are `column_bytes` further, the next 8 rows `row_bytes`; `shared` is a multiple of 1,024.
CARAT_DEVICE Cores swizzled_rows(const uint8_t* shared, int column_bytes, int row_bytes) {
  const auto address = static_cast<uint64_t>(__cvta_generic_to_shared(shared));
  return {(address >> 4 & 0x3fff) | static_cast<uint64_t>(column_bytes >> 4) << 16 | static_cast<uint64_t>(row_bytes >> 4) << 32 | uint64_t{1} << 62};
}
// d += a b: 64 rows of a, 64 of b, 16 columns.
CARAT_DEVICE void warpgroup_mma_scores(float* d, Cores a, Cores b, bool from_zero) {
  asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, %34, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31},"
               " %32, %33, p, 1, 1, 0, 0;\n}"
               : CARAT_F8(0), CARAT_F8(8), CARAT_F8(16), CARAT_F8(24)
               : "l"(a.descriptor), "l"(b.descriptor), "r"(static_cast<int>(from_zero)));
}
// d += a b: a in registers, 16 swizzled rows of b (keys) of 256 columns each.
CARAT_DEVICE void warpgroup_mma_values(float* d, const uint32_t* a, Cores b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {"
  CARAT_128_NAMES
               "}, {%128,%129,%130,%131}, %132, 1, 1, 1, 1;"
               : CARAT_F128
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor));
}
// d += a b: 64 rows of a, 256 of b, 16 columns, both in shared memory.
CARAT_DEVICE void warpgroup_mma_head(float* d, Cores a, Cores b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
  CARAT_128_NAMES
               "}, %128, %129, 1, 1, 1, 0, 0;"
               : CARAT_F128
               : "l"(a.descriptor), "l"(b.descriptor));
}
CARAT_DEVICE void warpgroup_keep_values(float* d) {
  asm volatile(""
               : CARAT_F128
               :
               : "memory");
}
// What threads have stored in shared memory is seen by products of warpgroups that begin after they have met.
CARAT_DEVICE void stores_for_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#undef CARAT_F8
#undef CARAT_F128
#undef CARAT_128_NAMES
#else
CARAT_DEVICE Cores cores_of(const uint8_t*, int, int) { return {}; }
CARAT_DEVICE Cores swizzled_rows(const uint8_t*, int, int) { return {}; }
CARAT_DEVICE void warpgroup_mma_scores(float*, Cores, Cores, bool) {}
CARAT_DEVICE void warpgroup_mma_values(float*, const uint32_t*, Cores) {}
CARAT_DEVICE void warpgroup_mma_head(float*, Cores, Cores) {}
CARAT_DEVICE void warpgroup_keep_values(float*) {}
CARAT_DEVICE void stores_for_products() {}
#endif
#endif

}  // namespace carat::cuda
