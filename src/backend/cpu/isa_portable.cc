// The kernels in plain C++: the definition of the arithmetic, and what runs where nothing better does.

#include "backend/cpu/kernels.h"
#include "backend/cpu/vision_pack.h"

namespace carat::cpu {
namespace isa_portable {
namespace {

constexpr int kMatvecRows = 1;    // rows of activations that decoding multiplies as it unpacks
constexpr int kMatvecTile = 1;    // as many at a time
constexpr int kRowChains = 1;     // of additions, side by side, where there is one row and one panel
constexpr int kGemmRows = 1;      // rows of activations that a prefill tile keeps in registers
constexpr int kGemmPanels = 1;    // panels that such a tile takes together
constexpr int kScoreChains = 1;   // of a head, side by side, when four rows read a key
constexpr int kValueVectors = 1;  // of sixteen columns, side by side, when keys are weighed
constexpr int kFloatPanels = 1;   // of a tile of floats in registers
constexpr int kFloatRows = 4;     // its rows
constexpr int kNarrowRows = 4;    // those of a tile one panel wide
// clang-format off
#include "backend/cpu/kernels/constants.inl"
#include "backend/cpu/kernels/iq4_table.inl"
#include "backend/cpu/kernels/simd_portable.inl"
#include "backend/cpu/kernels/all.inl"
// clang-format on

constexpr Kernels kKernels = {"cpu/portable",  pack,     forward,  matmul,       round_row,
                              rounded_row,     rms_norm, gelu_mul, exp_row,      unpack_row,
                              store_key_value, attend,   vision,   multiply_add, has_tiles};

}  // namespace
}  // namespace isa_portable

const Kernels& portable_kernels() { return isa_portable::kKernels; }

}  // namespace carat::cpu
