// The kernels for Armv8.2 with dot products (Cortex-A76, A78AE, Neoverse N1 and later).
#include <arm_neon.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vision_pack.h"

#define CARAT_PLANES

namespace carat::cpu {
namespace isa_neon {
namespace {

constexpr int kMatvecRows = 2;    // rows of activations that decoding multiplies as it unpacks
constexpr int kMatvecTile = 2;    // as many at a time
constexpr int kGemmRows = 4;      // rows of activations that a prefill tile keeps in registers
constexpr int kGemmPanels = 1;    // panels that such a tile takes together
constexpr int kScoreChains = 1;   // of a head, side by side, when four rows read a key
constexpr int kValueVectors = 1;  // of sixteen columns, side by side, when keys are weighed
constexpr int kFloatPanels = 1;   // of a tile of floats in registers
constexpr int kFloatRows = 6;     // its rows
constexpr int kNarrowRows = 6;    // those of a tile one panel wide
// clang-format off
#include "backend/cpu/kernels/constants.inl"
#include "backend/cpu/kernels/iq4_table.inl"
#include "backend/cpu/kernels/simd_neon.inl"
#include "backend/cpu/kernels/dot_sdot.inl"
#include "backend/cpu/kernels/all.inl"
// clang-format on

constexpr Kernels kKernels = {"cpu/neon",      pack,     forward,  matmul,       round_row,
                              rounded_row,     rms_norm, gelu_mul, exp_row,      unpack_row,
                              store_key_value, attend,   vision,   multiply_add, has_tiles};

}  // namespace
}  // namespace isa_neon

const Kernels& neon_kernels() { return isa_neon::kKernels; }

}  // namespace carat::cpu
