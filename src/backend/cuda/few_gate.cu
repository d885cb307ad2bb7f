// Gate and up of up to eight rows, as few.cu multiplies: a block holds what 32 neighbours of the next product's input need, all
// chunks of it at once, and leaves that input.
//   Its own kernels, because they have fewer registers than few.cu's: beside two of these blocks there is room for one of the next
// product (few_shared), whose weights come while gate and up are computed.
#include "backend/cuda/device/few.cuh"

namespace carat::cuda {

// Sums of groups gate, up, gate, up ...: a warp for a row, a lane for a column of the next product's input.
template <TileType kType>
CARAT_DEVICE void put_gated(const FewParams& p, float first_factor, const float* part, int pitch) {
  const int lane = lane_index(), warp = warp_index(), warps = block_threads() / 32;
  const bool there = lane < p.groups * kTileRows / 2;
  for (int row = warp; row < p.rows; row += warps) {
    const float* from = part + row * pitch + (there ? lane / kTileRows * 2 * kTileRows + lane % kTileRows : 0);
    float gate = 0.0f, up = 0.0f;
    CARAT_UNROLL_8 for (int i = 0; i < p.matrix.chunks; ++i) {
      gate = gate + from[i * 8 * pitch];
      up = up + from[i * 8 * pitch + kTileRows];
    }
    const float factor = row == warp ? first_factor : factor_of<kType>(p.x, row);
    const float value = gelu(factor * gate) * (factor * up);
    const int column = static_cast<int>(blockIdx.x) * p.groups / 2 * kTileRows + lane;
    if (p.gated.integers != 0) round_block(p.gated, row, column / 32, value);
    if (p.gated.floats != 0 && there) store_float(p.gated, row, column, value);
    if (blockIdx.x == 0 && lane == 0) p.gated.factors[row] = 1.0f;
  }
}

// kTwo: of two pairs of groups at a time, where the registers hold them.
template <TileType kType, bool kTwo>
CARAT_DEVICE void few_gate(const FewParams& p) {
  constexpr int kTileBytes = tile_format(kType).tile_bytes();
  const int pitch = p.groups * kTileRows + 4, chunks = p.matrix.chunks;  // of a row of sums: no two lanes of a warp meet in a bank
  uint8_t* weights = shared_memory();                                   // [groups][chunks] tiles
  auto* part = reinterpret_cast<float*>(weights + p.groups * chunks * kTileBytes);  // [chunks][8 rows][pitch]
  auto* arrival = reinterpret_cast<uint64_t*>(part + chunks * 8 * pitch);
  const int warps = block_threads() / 32, warp = warp_index(), lane = lane_index();
  const int first_group = static_cast<int>(blockIdx.x) * p.groups;
  next_may_begin();
  few_begin(arrival);
  few_fetch<kType>(p, first_group, least(p.groups, p.matrix.groups - first_group), 0, chunks, weights, arrival);
  previous_wait();
  // The factor is asked for with the rows: what comes last should not wait for memory.
  const float factor = warp < p.rows ? factor_of<kType>(p.x, warp) : 0.0f;
  ColumnFragments<kType> x;
  if (warp < chunks) x.load_of(p.x, warp, lane);
  uint32_t arrived = 0;
  few_wait(arrival, arrived);
  CARAT_UNROLL_1 for (int i = warp; i < chunks; i += warps) {
    if (i != warp) x.load_of(p.x, i, lane);
    float* to = part + (i * 8 + 2 * (lane & 3)) * pitch + (lane >> 2);
    put_groups<kType, kTwo>(weights + i * kTileBytes, chunks * kTileBytes, p.groups, x, lane, to, pitch);
  }
  block_barrier();
  put_gated<kType>(p, factor, part, pitch);
}

#define CARAT_FEW_GATE(name)                                                                       \
  CARAT_KERNEL_BESIDE(few_gate_##name, FewParams, few_gate_registers(TileType::k##name)) {         \
    few_gate<TileType::k##name, few_gate_two(TileType::k##name)>(p);                               \
  }
CARAT_CUDA_TYPES(CARAT_FEW_GATE)
#undef CARAT_FEW_GATE

}  // namespace carat::cuda
