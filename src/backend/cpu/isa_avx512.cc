// The kernels for AVX-512 with BW, VL and VNNI (Ice Lake, Zen 4 and later).
#include <immintrin.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vision_pack.h"

namespace carat::cpu {
namespace isa_avx512 {
namespace {

constexpr int kMatvecRows = 24;   // rows of activations that decoding multiplies as it unpacks
constexpr int kMatvecTile = 4;    // as many at a time
constexpr int kRowChains = 4;     // of additions, side by side, where there is one row and one panel
constexpr int kGemmRows = 8;      // rows of activations that a prefill tile keeps in registers
constexpr int kGemmPanels = 2;    // panels that such a tile takes together
constexpr int kScoreChains = 2;   // of a head, side by side, when four rows read a key
constexpr int kValueVectors = 2;  // of sixteen columns, side by side, when keys are weighed
constexpr int kFloatPanels = 4;   // of a tile of floats in registers
constexpr int kFloatRows = 6;     // its rows
constexpr int kNarrowRows = 12;   // those of a tile one panel wide
// clang-format off
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
