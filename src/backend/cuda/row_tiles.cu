// What happens to many rows between two products, 16 rows at a time: a warp for a row, the bits of rows.cu. Rounded rows lie as
// fragments and cores of 16 (or 8) rows, so that one row's bytes are scattered, and memory takes half a sector eight times as long as
// a whole one: 16 rows x 128 columns are put together in shared memory, and leave it in one piece.
#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {

// 16 rows x 128 columns as struct Rounded has them: [planes 4096][scales 256][sums 512][pieces 8192].
struct RowTile {
  static constexpr int kScales = 4096, kSums = 4352, kPieces = 4864;
  uint8_t* at;

  // Block k of 32 columns of row r.
  CARAT_METHOD void put_block(int r, int k, const RoundedBlock& q) const {
    const int lane = lane_index();
    uint8_t* p = at + k * 512 + ((r & 7) * 4 + (lane & 15) / 4) * 16 + (((r >> 3) & 1) + 2 * (lane >> 4)) * 4 + (lane & 3);
    p[0] = static_cast<uint8_t>(q.q >> 7);
    p[2048] = static_cast<uint8_t>(q.q & 127);
    if (lane == 0) reinterpret_cast<float*>(at + kScales)[r * 4 + k] = q.scale;
    if ((lane & 15) == 0) reinterpret_cast<int32_t*>(at + kSums)[(r * 4 + k) * 2 + lane / 16] = q.sum;
  }
  CARAT_METHOD void put_float(const Rounded& out, int r, int column, float value) const {
    const uint16_t high = to_bf16(value);
    const uint16_t low = to_bf16(value - bits_to_float(static_cast<uint32_t>(high) << 16));
    int to = ((column >> 6) * 2 + (r >> 3)) * 1024 + (column & 63) / 8 * 128 + (r & 7) * 16 + (column & 7) * 2, next = 4096;
    if (out.fragments != 2) {
      const int k = column & 15;
      to = column / 16 * 1024 + ((r & 7) * 4 + (k & 7) / 2) * 16 + (((r >> 3) & 1) + 2 * (k >> 3)) * 4 + (k & 1) * 2;
      next = 512;
    }
    *reinterpret_cast<uint16_t*>(at + kPieces + to) = high;
    *reinterpret_cast<uint16_t*>(at + kPieces + to + next) = low;
  }
  // A warp's row: 128 columns, of which the lane has those of four blocks.
  CARAT_METHOD void put_row(const Rounded& out, int r, const float* scaled, const float* normed) const {
    if (out.integers != 0) {
      RoundedBlock q[kTileBlocks];
      CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) q[k] = round_value(scaled[k]);
      CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) put_block(r, k, q[k]);
    }
    if (out.floats != 0) {
      CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) put_float(out, r, k * 32 + lane_index(), normed[k]);
    }
  }
  CARAT_METHOD void copy(void* to, int from, int bytes) const {
    for (int i = thread_index() * 16; i < bytes; i += block_threads() * 16) {
      *reinterpret_cast<Words4*>(static_cast<uint8_t*>(to) + i) = load<Words4>(at + from + i);
    }
  }
  // Between two barriers.
  CARAT_METHOD void leave(const Rounded& out, int row_tile, int chunk) const {
    const int64_t tile = static_cast<int64_t>(chunk) * (out.rows16 / 16) + row_tile;
    if (out.integers != 0) {
      copy(out.planes + tile * 4096, 0, 4096);
      copy(out.scales + tile * 64, kScales, 256);
      copy(out.sums + tile * 128, kSums, 512);
    }
    if (out.floats == 0) return;
    if (out.fragments != 2) return copy(out.pieces + tile * 8192, kPieces, 8192);
    for (int plane = 0; plane < out.core_planes; ++plane) {
      for (int half = 0; half < 2; ++half) {
        auto* to = reinterpret_cast<uint16_t*>(out.pieces) + plane * core_plane(out) + core_at(out, row_tile * 16, chunk * kTileColumns + half * 64);
        copy(to, kPieces + plane * 4096 + half * 2048, 2048);
      }
    }
  }
};

// blockIdx: chunk, 16 rows.
template <class Value>
CARAT_DEVICE void one_tile(const Rounded& out, Value value_of) {
  const RowTile tile{shared_memory()};
  const int chunk = static_cast<int>(blockIdx.x), row_tile = static_cast<int>(blockIdx.y), r = warp_index();
  const int row = row_tile * 16 + r, lane = lane_index();
  float value[kTileBlocks];
  CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) {
    const int column = chunk * kTileColumns + k * 32 + lane;
    value[k] = row < out.rows && column < out.columns ? value_of(row, column) : 0.0f;
  }
  tile.put_row(out, r, value, value);
  if (lane == 0 && chunk == 0) out.factors[row] = 1.0f;
  block_barrier();
  tile.leave(out, row_tile, chunk);
}

CARAT_KERNEL(round_tiles, RoundParams, 512, 2) {
  one_tile(p.out, [&](int row, int column) { return p.values[static_cast<int64_t>(row) * p.out.columns + column]; });
}

CARAT_KERNEL(gate_tiles, GatedParams, 512, 2) {
  one_tile(p.out, [&](int row, int column) {
    const float* at = p.products + static_cast<int64_t>(row) * 2 * p.out.columns + column / kTileRows * 2 * kTileRows + column % kTileRows;
    return gelu(at[0]) * at[kTileRows];
  });
}

CARAT_DEVICE float row_squares(const float* value) {
  float partial[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  CARAT_UNROLL for (int k = 0; k < kCloseValues; ++k) partial[k % 4] = fma_rn(value[k], value[k], partial[k % 4]);
  return warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3]));
}

// Rows of up to 32 kCloseValues columns. blockIdx: 16 rows.
CARAT_KERNEL(close_tiles, CloseParams, 512, 1) {
  const RowTile tile{shared_memory()};
  const int row_tile = static_cast<int>(blockIdx.x), r = warp_index(), lane = lane_index(), row = row_tile * 16 + r;
  const bool there = row < p.out.rows;
  const float* y = p.projected + static_cast<int64_t>(row) * p.width;
  float* hidden = p.hidden + static_cast<int64_t>(row) * p.width;
  float value[kCloseValues], h[kCloseValues];
  CARAT_UNROLL for (int k = 0; k < kCloseValues; ++k) {
    const int i = lane + 32 * k;
    const bool own = there && i < p.width;
    value[k] = own ? y[i] : 0.0f;
    h[k] = own ? hidden[i] : 0.0f;
  }
  for (int split = 1; split < p.splits; ++split) {
    CARAT_UNROLL for (int k = 0; k < kCloseValues; ++k) {
      const int i = lane + 32 * k;
      if (there && i < p.width) value[k] = value[k] + y[split * p.split_stride + i];
    }
  }
  const float inverse = inverse_rms(row_squares(value), p.width, p.epsilon);
  CARAT_UNROLL for (int k = 0; k < kCloseValues; ++k) {
    const int i = lane + 32 * k;
    if (!there || i >= p.width) continue;
    h[k] = h[k] + (value[k] * inverse) * p.post_norm[i];
    hidden[i] = h[k];
  }
  if (p.next_norm == nullptr) return;
  const float factor = inverse_rms(row_squares(h), p.width, p.epsilon);
  if (lane == 0 && there) p.out.factors[row] = factor;
  CARAT_UNROLL for (int chunk = 0; chunk < kCloseValues / kTileBlocks; ++chunk) {
    if (chunk >= p.out.chunks) break;
    float scaled[kTileBlocks], normed[kTileBlocks];
    CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) {
      const int i = lane + 32 * (chunk * kTileBlocks + k);
      const float next = i < p.width ? p.next_norm[i] : 0.0f;
      scaled[k] = h[chunk * kTileBlocks + k] * next;
      normed[k] = (h[chunk * kTileBlocks + k] * factor) * next;
    }
    tile.put_row(p.out, r, scaled, normed);
    block_barrier();
    tile.leave(p.out, row_tile, chunk);
    block_barrier();
  }
}

}  // namespace carat::cuda
