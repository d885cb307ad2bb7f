// The kernels for AVX-512 with BW, VL and VNNI (Ice Lake, Zen 4 and later).
#include <immintrin.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vision_pack.h"

namespace carat::cpu {
namespace isa_avx512 {
namespace {

// clang-format off
#include "backend/cpu/kernels/sizes_avx512.inl"
#include "backend/cpu/kernels/constants.inl"
#include "backend/cpu/kernels/iq4_table.inl"
#include "backend/cpu/kernels/simd_avx512.inl"
#include "backend/cpu/kernels/all.inl"
// clang-format on

constexpr Kernels kKernels = {"cpu/avx512",    pack,     forward,  matmul,       round_row,
                              rounded_row,     rms_norm, gelu_mul, exp_row,      unpack_row,
                              store_key_value, attend,   vision,   multiply_add, has_tiles};

}  // namespace
}  // namespace isa_avx512

const Kernels& avx512_kernels() { return isa_avx512::kKernels; }

}  // namespace carat::cpu
