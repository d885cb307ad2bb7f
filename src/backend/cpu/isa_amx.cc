// The kernels for AVX-512 as in isa_avx512.cc, with AMX's tiles of bf16 for products of many rows (Sapphire Rapids and later).
#define CARAT_TILES
#include <immintrin.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vision_pack.h"

namespace carat::cpu {
namespace isa_amx {
namespace {

constexpr int64_t kLeastTiledRows = 32;  // of activations that are multiplied as tiles
// clang-format off
#include "backend/cpu/kernels/sizes_avx512.inl"
#include "backend/cpu/kernels/constants.inl"
#include "backend/cpu/kernels/iq4_table.inl"
#include "backend/cpu/kernels/simd_avx512.inl"
#include "backend/cpu/kernels/tiles_amx.inl"
#include "backend/cpu/kernels/all.inl"
// clang-format on

constexpr Kernels kKernels = {"cpu/amx",       pack,     forward,  matmul,       round_row,
                              rounded_row,     rms_norm, gelu_mul, exp_row,      unpack_row,
                              store_key_value, attend,   vision,   multiply_add, has_tiles};

}  // namespace
}  // namespace isa_amx

const Kernels& amx_kernels() { return isa_amx::kKernels; }

}  // namespace carat::cpu
