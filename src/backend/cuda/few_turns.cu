// Products of up to eight rows that are more than all multiprocessors hold at once: as few.cu multiplies, by blocks that stay and take
// a few groups of outputs in turns, so that rows are read once, and what later turns need of the weights is on its way meanwhile.
//   The head: logits, and the best of each row. Gate and up of 16- and 32-bit weights, which leave the next product's input.
#include "backend/cuda/device/few.cuh"

namespace carat::cuda {

// A block's turns: begin_turn waits for weights and multiplies, then sums of [chunks][8 rows][pitch] lie in part().
template <TileType kType>
struct Turns {
  static constexpr int kTileBytes = tile_format(kType).tile_bytes();
  const FewParams& p;
  int outputs, pitch, chunks, stage_bytes, part_floats, stride, group, stage, turn;
  uint32_t phase;
  uint8_t* weights;    // [stages][groups][chunks] tiles
  float* parts;        // [2][chunks][8 rows][pitch]
  uint64_t* arrivals;  // [stages]
  ColumnFragments<kType> x;

  CARAT_METHOD explicit Turns(const FewParams& params) : p(params) {
    outputs = p.groups * kTileRows, pitch = outputs + 4, chunks = p.matrix.chunks;
    stage_bytes = p.groups * chunks * kTileBytes;
    part_floats = chunks * 8 * pitch;
    stride = static_cast<int>(gridDim.x) * p.groups, group = static_cast<int>(blockIdx.x) * p.groups;
    stage = turn = 0;
    phase = 0;
    weights = shared_memory();
    parts = reinterpret_cast<float*>(weights + p.round * stage_bytes);
    arrivals = reinterpret_cast<uint64_t*>(parts + 2 * part_floats);
    if constexpr (kBulkCopies) {
      if (thread_index() == 0) {
        for (int i = 0; i < p.round; ++i) arrival_init(arrivals + i, 1);
        arrival_fence();
      }
      block_barrier();
    }
    for (int i = 0; i < p.round; ++i) fetch(group + i * stride, i);
  }
  CARAT_METHOD void fetch(int first, int to) const {
    if (first < p.matrix.groups) {
      few_fetch<kType>(p, first, least(p.groups, p.matrix.groups - first), 0, chunks, weights + to * stage_bytes, arrivals + to);
    } else if constexpr (!kBulkCopies) {
      copy_async_commit();
    }
  }
  CARAT_METHOD void load_rows() {
    if (warp_index() < chunks) x.load_of(p.x, warp_index(), lane_index());
  }
  CARAT_METHOD bool more() const { return group < p.matrix.groups; }
  CARAT_METHOD float* part() const { return parts + (turn & 1) * part_floats; }
  CARAT_METHOD void begin_turn() {
    if constexpr (kBulkCopies) {
      arrival_wait(arrivals + stage, phase);
    } else {
      copy_async_wait<kTurnStages - 1>();
      block_barrier();
    }
    const int warp = warp_index(), lane = lane_index();
    if (warp < chunks) {
      float* to = part() + (warp * 8 + 2 * (lane & 3)) * pitch + (lane >> 2);
      put_groups<kType, true>(weights + stage * stage_bytes + warp * kTileBytes, chunks * kTileBytes, p.groups, x, lane, to, pitch);
    }
    block_barrier();
    fetch(group + p.round * stride, stage);
  }
  CARAT_METHOD void end_turn() {  // sums of the next turn lie elsewhere: nobody need have read these
    group += stride;
    ++turn;
    if (++stage == p.round) {
      stage = 0;
      phase ^= 1;
    }
  }
};

template <TileType kType>
CARAT_DEVICE void few_head(const FewHeadParams& of) {
  const FewParams& p = of.few;
  next_may_begin();
  Turns<kType> turns(p);
  previous_wait();
  turns.load_rows();
  const int threads = block_threads(), outputs = turns.outputs, chunks = turns.chunks, pitch = turns.pitch;
  float factor[kFewTotals];
  uint64_t best[kFewTotals];
  CARAT_UNROLL for (int k = 0; k < kFewTotals; ++k) {
    const int row = (thread_index() + k * threads) / outputs;
    factor[k] = row < p.rows ? factor_of<kType>(p.x, row) : 0.0f;
    best[k] = 0;
  }
  CARAT_UNROLL_1 for (; turns.more(); turns.end_turn()) {
    turns.begin_turn();
    CARAT_UNROLL for (int k = 0; k < kFewTotals; ++k) {
      const int mine = thread_index() + k * threads;
      if (mine >= 8 * outputs) continue;
      const int row = mine / outputs, id = turns.group * kTileRows + mine % outputs;
      const float* from = turns.part() + row * pitch + mine % outputs;
      float total = 0.0f;
      CARAT_UNROLL_8 for (int i = 0; i < chunks; ++i) total = total + from[i * 8 * pitch];
      if (row >= p.rows || id >= p.matrix.rows) continue;
      const float logit = factor[k] * total;
      if (p.out != nullptr) p.out[static_cast<int64_t>(row) * p.out_stride + id] = logit;
      const uint64_t key = order_of_logit(logit, id);
      best[k] = key > best[k] ? key : best[k];
    }
  }
  CARAT_UNROLL for (int k = 0; k < kFewTotals; ++k) {  // a warp's outputs are of one row, if those of a turn are 32 or more
    const int row = (thread_index() + k * threads) / outputs;
    if (outputs >= 32) {
      CARAT_UNROLL for (int width = 16; width > 0; width /= 2) {
        const uint64_t other = from_lane_xor(best[k], width);
        best[k] = other > best[k] ? other : best[k];
      }
    }
    if (row < p.rows && best[k] != 0 && (outputs < 32 || lane_index() == 0)) atomic_max(of.best + row, best[k]);
  }
}

// Groups are gate, up, gate, up ...: a thread for a row and a column of the next product's input.
template <TileType kType>
CARAT_DEVICE void few_gated(const FewParams& p) {
  next_may_begin();
  Turns<kType> turns(p);
  previous_wait();
  turns.load_rows();
  const int columns = turns.outputs / 2, chunks = turns.chunks, pitch = turns.pitch;
  const int row = thread_index() / columns, column = thread_index() % columns;
  if (blockIdx.x == 0 && thread_index() < p.rows) p.gated.factors[thread_index()] = 1.0f;
  CARAT_UNROLL_1 for (; turns.more(); turns.end_turn()) {
    turns.begin_turn();
    if (row >= p.rows) continue;
    const float* from = turns.part() + row * pitch + column / kTileRows * 2 * kTileRows + column % kTileRows;
    float gate = 0.0f, up = 0.0f;
    CARAT_UNROLL_8 for (int i = 0; i < chunks; ++i) {
      gate = gate + from[i * 8 * pitch];
      up = up + from[i * 8 * pitch + kTileRows];
    }
    store_float(p.gated, row, turns.group / 2 * kTileRows + column, gelu(gate) * up);
  }
}

#define CARAT_FEW_HEAD(name) \
  CARAT_KERNEL(few_head_##name, FewHeadParams, kFewThreads, 2) { few_head<TileType::k##name>(p); }
CARAT_CUDA_TYPES(CARAT_FEW_HEAD)
#undef CARAT_FEW_HEAD
#define CARAT_FEW_GATED(name) \
  CARAT_KERNEL(few_gated_##name, FewParams, kFewThreads, 2) { few_gated<TileType::k##name>(p); }
CARAT_FEW_GATED(F32) CARAT_FEW_GATED(F16) CARAT_FEW_GATED(BF16)
#undef CARAT_FEW_GATED

}  // namespace carat::cuda
