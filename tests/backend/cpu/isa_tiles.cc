// The portable kernels with the products of tiles, the tiles themselves emulated: what AMX computes is tested on every
// machine.
#define CARAT_TILES

#include "backend/cpu/isa_tiles.h"

#include "backend/cpu/vision_pack.h"

namespace carat::cpu {
namespace isa_tiles {
namespace {

constexpr int kMatvecRows = 1, kMatvecTile = 1, kRowChains = 1, kGemmRows = 1, kGemmPanels = 2;
constexpr int kScoreChains = 1, kValueVectors = 1, kFloatPanels = 1, kFloatRows = 4, kNarrowRows = 4;
constexpr int64_t kLeastTiledRows = 5;
// clang-format off
#include "backend/cpu/kernels/constants.inl"
#include "backend/cpu/kernels/iq4_table.inl"
#include "backend/cpu/kernels/simd_portable.inl"
#include "backend/cpu/tiles_emulated.inl"
#include "backend/cpu/kernels/all.inl"
// clang-format on

constexpr Kernels kKernels = {"cpu/emulated_tiles", pack,     forward,  matmul,       round_row,
                              rounded_row,          rms_norm, gelu_mul, exp_row,      unpack_row,
                              store_key_value,      attend,   vision,   multiply_add, has_tiles};

}  // namespace
}  // namespace isa_tiles
}  // namespace carat::cpu

namespace carat::test {
const cpu::Kernels& emulated_tiles_kernels() { return cpu::isa_tiles::kKernels; }
}  // namespace carat::test
