// logits of one row, and the best of them: a warp takes 8 outputs and all their segments, one after the other.
#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/ring.cuh"
#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {


// The tiles of a warp's groups, which lie one after the other in each.
struct GroupTiles {
  const uint8_t* data;
  int64_t at, stride, end;  // bytes: where the group begins; to this warp's next; of the matrix
  int chunk, chunks, bytes;

  CARAT_METHOD bool more() const { return at < end; }
  CARAT_METHOD TilePlace take() {
    const TilePlace tile{data + at + static_cast<int64_t>(chunk) * bytes, static_cast<uint32_t>(bytes)};
    if (++chunk == chunks) {
      chunk = 0;
      at += stride;
    }
    return tile;
  }
};

template <TileType kType>
CARAT_DEVICE void head_row(const DecodeParams& p) {
  constexpr TileFormat kFormat = tile_format(kType);
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  Rounded x{};
  x.columns = p.width;
  x.chunks = (p.width + kTileColumns - 1) / kTileColumns;
  x.rows16 = 16;
  x.integers = kFormat.quantised() ? 1 : 0;
  x.floats = kFormat.quantised() ? 0 : 1;
  const int blocks = x.chunks * kTileBlocks;
  x.factors = scratch + kRowThreads;
  const int warps = static_cast<int>(gridDim.x) * kHeadWarps;
  const int first_group = static_cast<int>(blockIdx.x) * kHeadWarps + warp_index();
  constexpr int kTileBytes = kFormat.tile_bytes(), kDepth = head_depth(kType);
  uint8_t* rings = shared_memory() + (kRowThreads + 32) * 4;
  uint8_t* memory = rings + kHeadWarps * kDepth * (kTileBytes + 8);
  Ring<GroupTiles> ring{};
  const int64_t group_bytes = static_cast<int64_t>(x.chunks) * kTileBytes;
  ring.source = {p.head.data, first_group * group_bytes, warps * group_bytes, p.head.groups * group_bytes, 0, x.chunks, kTileBytes};
  const auto begin = static_cast<int>(rings - shared_memory());
  ring.begin(begin + kHeadWarps * kDepth * 8 + warp_index() * kDepth * kTileBytes, begin + warp_index() * kDepth * 8, kDepth,
             kTileBytes);
  x.values = reinterpret_cast<float*>(memory);
  x.planes = memory;
  x.scales = reinterpret_cast<float*>(memory + blocks * 64);
  x.sums = reinterpret_cast<int32_t*>(memory + blocks * 68);

  float squares = 0.0f;
  if (thread_index() < kRowThreads) {
    for (int i = thread_index(); i < p.width; i += kRowThreads) squares = fma_rn(p.hidden[i], p.hidden[i], squares);
  }
  const float inverse = inverse_rms(block_halves(squares, scratch), p.width, p.epsilon);
  write_row(
      x, 0, inverse, [&](int i) { return p.hidden[i] * p.final_norm[i]; },
      [&](int i) { return (p.hidden[i] * inverse) * p.final_norm[i]; });
  block_barrier();

  const int lane = lane_index();
  const float factor = factor_of<kType>(x, 0);
  uint64_t best = 0;
  for (int group = first_group; group < p.head.groups; group += warps) {
    float total = 0.0f;
    for (int chunk = 0; chunk < p.head.chunks; ++chunk) {
      float acc[1];
      segment_of_rows<kType, 1, true>(ring.wait(0), x, chunk, lane, acc);
      warp_barrier();
      ring.done();
      total = total + acc[0];
    }
    const int id = group * kTileRows + lane - 24;
    if (lane < 24 || id >= p.vocabulary) continue;
    const float logit = factor * total;
    if (p.logits != nullptr) p.logits[id] = logit;
    const uint64_t key = order_of_logit(logit, id);
    best = key > best ? key : best;
  }
  warp_barrier();
  CARAT_UNROLL for (int width = 16; width > 0; width /= 2) {
    const uint64_t other = from_lane_xor(best, width);
    best = other > best ? other : best;
  }
  if (lane == 0) atomic_max(p.best, best);
}

#define CARAT_HEAD(name) \
  CARAT_KERNEL(head_row_##name, DecodeParams, kHeadThreads, 2) { head_row<TileType::k##name>(p); }
CARAT_CUDA_TYPES(CARAT_HEAD)
#undef CARAT_HEAD

}  // namespace carat::cuda
