// The kernels in plain C++: the definition of the arithmetic, and what runs where nothing better does.

#include "backend/cpu/kernels.h"

namespace carat::cpu {
namespace isa_portable {
namespace {

constexpr int kMatvecRows = 1;    // rows of activations that decoding multiplies as it unpacks
constexpr int kGemmRows = 1;      // rows of activations that a prefill tile keeps in registers
constexpr int kScoreChains = 1;   // of a head, side by side, when four rows read a key
constexpr int kValueVectors = 1;  // of sixteen columns, side by side, when keys are weighed
// clang-format off
#include "backend/cpu/kernels/iq4_table.inl"
#include "backend/cpu/kernels/simd_portable.inl"
#include "backend/cpu/kernels/all.inl"
// clang-format on

constexpr Kernels kKernels = {"cpu/portable", pack,     forward, matmul,     round_row,       rounded_row,
                              rms_norm,       gelu_mul, exp_row, unpack_row, store_key_value, attend};

}  // namespace
}  // namespace isa_portable

const Kernels& portable_kernels() { return isa_portable::kKernels; }

}  // namespace carat::cpu
