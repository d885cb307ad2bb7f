// Closes a few rows (residual, norms, rounding: close_rows of rows.cu, bit for bit) for products of up to 256 rows, as quickly as one
// row can be: everything is asked for at once, every warp adds up the norm for itself, and what the second norm gives only the
// product's result waits for.
//   A block has a row; a warp 128 columns, a lane four neighbours of them: four of the 128 partial sums of a norm. One more warp finds
// the factor of the row while the others round it.
#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {

// The sum of squares of a row in shared memory, zeros behind its end: 128 partial sums, then halves.
template <int kChunks>
CARAT_DEVICE float few_squares(const float* values, int chunks, int lane) {
  float partial[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  CARAT_UNROLL for (int m = 0; m < kChunks; ++m) {
    Words4 v{0, 0, 0, 0};
    if (m < chunks) v = load<Words4>(values + m * kTileColumns + 4 * lane);
    float four[4];
    four_of(v, four);
    CARAT_UNROLL for (int e = 0; e < 4; ++e) partial[e] = fma_rn(four[e], four[e], partial[e]);
  }
  CARAT_UNROLL for (int e = 0; e < 4; ++e) partial[e] = warp_halves(partial[e]);
  return (partial[0] + partial[2]) + (partial[1] + partial[3]);
}

CARAT_DEVICE void load_if(bool there, const float* from, float* to) {
  Words4 v{0, 0, 0, 0};
  if (there) v = load<Words4>(from);
  four_of(v, to);
}

// A warp's chunk of a row to its place among columns (kColumnsForm) or fragments: four neighbours a lane.
CARAT_DEVICE void put_integers(const Rounded& out, int chunk, int row, const float* value, int lane) {
  const int block = lane / 8, own = lane % 8;
  const BlockScale scale = scale_of_block(largest_of_block(value));
  int sum = 0;
  uint32_t high = 0, low = 0;
  CARAT_UNROLL for (int e = 0; e < 4; ++e) {
    const int q = round_to_int(value[e] * scale.inverse);
    high |= static_cast<uint32_t>(q >> 7 & 255) << (8 * e);
    low |= static_cast<uint32_t>(q & 127) << (8 * e);
    sum += q;
  }
  if (out.fragments == kColumnsForm) {
    const uint32_t other = from_lane_xor(own < 4 ? low : high, 4);  // columns 16 further, or 16 before
    const uint64_t words = own < 4 ? static_cast<uint64_t>(other) << 32 | high : static_cast<uint64_t>(low) << 32 | other;
    uint8_t* fragment = out.planes + (static_cast<int64_t>(chunk) * (out.rows16 / 8) + row / 8) * 2048;
    *reinterpret_cast<uint64_t*>(fragment + block * 512 + row % 8 * 64 + own % 4 * 16 + own / 4 * 8) = words;
  } else {
    uint8_t* fragment = out.planes + (static_cast<int64_t>(chunk) * (out.rows16 / 16) + row / 16) * 4096;
    auto* word = reinterpret_cast<uint32_t*>(fragment + block * 512 + row % 8 * 64 + own % 4 * 16 + row / 8 % 2 * 4 + own / 4 * 8);
    word[0] = high;
    word[512] = low;
  }
  const int64_t at = (static_cast<int64_t>(chunk) * out.rows16 + row) * kTileBlocks + block;
  if (own == 0) out.scales[at] = scale.scale;
  CARAT_UNROLL for (int width = 1; width < 4; width *= 2) sum += from_lane_xor(sum, width);
  if (own % 4 == 0) out.sums[at * 2 + own / 4] = sum;
}
// The same in bf16, or to its place among cores.
CARAT_DEVICE void put_pieces(const Rounded& out, int chunk, int row, const float* value, int lane) {
  const uint32_t high[2] = {pack_bf16(value[0], value[1]), pack_bf16(value[2], value[3])};
  uint32_t low[2];
  CARAT_UNROLL for (int i = 0; i < 2; ++i) {
    low[i] = pack_bf16(value[2 * i] - bits_to_float(high[i] << 16), value[2 * i + 1] - bits_to_float(high[i] & 0xffff0000u));
  }
  if (out.fragments == 2) {
    auto* at = reinterpret_cast<uint16_t*>(out.pieces) + core_at(out, row, chunk * kTileColumns + 4 * lane);
    *reinterpret_cast<uint64_t*>(at) = static_cast<uint64_t>(high[1]) << 32 | high[0];
    if (out.core_planes == 2) *reinterpret_cast<uint64_t*>(at + core_plane(out)) = static_cast<uint64_t>(low[1]) << 32 | low[0];
    return;
  }
  const int step = lane / 4, second = lane / 2 % 2, own = lane % 2;  // second: of the halves of 16 columns
  if (out.fragments == kColumnsForm) {
    const uint32_t other_high = from_lane_xor(second != 0 ? high[0] : high[1], 2), other_low = from_lane_xor(second != 0 ? low[0] : low[1], 2);
    const Words4 words = second != 0 ? Words4{other_high, high[1], other_low, low[1]} : Words4{high[0], other_high, low[0], other_low};
    uint8_t* fragment = out.pieces + (static_cast<int64_t>(chunk) * (out.rows16 / 8) + row / 8) * 4096;
    *reinterpret_cast<Words4*>(fragment + step * 512 + row % 8 * 64 + (2 * own + second) * 16) = words;
    return;
  }
  uint8_t* fragment = out.pieces + (static_cast<int64_t>(chunk) * (out.rows16 / 16) + row / 16) * 8192;
  auto* word = reinterpret_cast<uint32_t*>(fragment + step * 1024 + row % 8 * 64 + 2 * own * 16 + row / 8 % 2 * 4 + second * 8);
  CARAT_UNROLL for (int i = 0; i < 2; ++i) {
    word[4 * i] = high[i];
    word[4 * i + 128] = low[i];
  }
}

template <int kChunks>
CARAT_DEVICE void close_few(const CloseParams& p) {
  const int chunks = p.out.chunks, warp = warp_index(), lane = lane_index(), row = static_cast<int>(blockIdx.x);
  auto* projected = reinterpret_cast<float*>(shared_memory());  // [columns]
  float* closed = projected + chunks * kTileColumns;            // [columns]
  const int column = warp * kTileColumns + 4 * lane;
  const bool inside = warp < chunks, there = column < p.width;
  float value[4], h[4], post[4], next[4];
  next_may_begin();
  load_if(there, p.post_norm + column, post);
  load_if(there && p.next_norm != nullptr, p.next_norm + column, next);
  previous_wait();
  const int64_t at = static_cast<int64_t>(row) * p.width + column;
  load_if(there, p.projected + at, value);
  load_if(there, p.hidden + at, h);
  if (inside) store_four(projected + column, value);
  block_barrier();
  const float inverse = inverse_rms(few_squares<kChunks>(projected, chunks, lane), p.width, p.epsilon);
  CARAT_UNROLL for (int e = 0; e < 4; ++e) h[e] = h[e] + (value[e] * inverse) * post[e];
  if (there) store_four(p.hidden + at, h);
  if (p.next_norm == nullptr) return;
  if (inside) store_four(closed + column, h);
  block_barrier();
  if (inside && p.out.integers != 0) {
    CARAT_UNROLL for (int e = 0; e < 4; ++e) value[e] = h[e] * next[e];
    put_integers(p.out, warp, row, value, lane);
  }
  if (inside && p.out.floats == 0) return;
  const float factor = inverse_rms(few_squares<kChunks>(closed, chunks, lane), p.width, p.epsilon);
  if (inside) {
    CARAT_UNROLL for (int e = 0; e < 4; ++e) value[e] = (h[e] * factor) * next[e];
    put_pieces(p.out, warp, row, value, lane);
  } else if (lane == 0) {
    p.out.factors[row] = factor;
  }
}
CARAT_KERNEL(close_few_10, CloseParams, 11 * 32, 1) { close_few<10>(p); }
CARAT_KERNEL(close_few_20, CloseParams, 21 * 32, 1) { close_few<20>(p); }

}  // namespace carat::cuda
