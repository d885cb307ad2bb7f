// The kernels for AVX2, FMA and F16C (Haswell, Zen and later).
#include <immintrin.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vision_pack.h"

namespace carat::cpu {
namespace isa_avx2 {
namespace {

constexpr int kMatvecRows = 4;  // rows of activations that decoding multiplies as it unpacks
constexpr int kMatvecTile = 4;  // as many at a time
constexpr int kRowChains = 2;   // of additions, side by side, where there is one row and one panel
constexpr int kGemmRows =
    3;  // rows of activations that a prefill tile keeps in registers: with 4, GCC spills one (78 GOPS, not 129)
constexpr int kGemmPanels = 1;    // panels that such a tile takes together
constexpr int kScoreChains = 1;   // of a head, side by side, when four rows read a key
constexpr int kValueVectors = 1;  // of sixteen columns, side by side, when keys are weighed
constexpr int kFloatPanels = 1;   // of a tile of floats in registers
constexpr int kFloatRows = 6;     // its rows
constexpr int kNarrowRows = 6;    // those of a tile one panel wide
// clang-format off
#include "backend/cpu/kernels/constants.inl"
#include "backend/cpu/kernels/iq4_table.inl"
#include "backend/cpu/kernels/simd_avx2.inl"
#include "backend/cpu/kernels/all.inl"
// clang-format on

constexpr Kernels kKernels = {"cpu/avx2",      pack,     forward,  matmul,       round_row,
                              rounded_row,     rms_norm, gelu_mul, exp_row,      unpack_row,
                              store_key_value, attend,   vision,   multiply_add, has_tiles};

}  // namespace
}  // namespace isa_avx2

const Kernels& avx2_kernels() { return isa_avx2::kKernels; }

}  // namespace carat::cpu
