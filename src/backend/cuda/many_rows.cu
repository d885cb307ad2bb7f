// Rows between products, where there are many: a warp for each, its values in registers and all asked for at once, eight rows a
// block, whose 16-bit results leave as whole cores of 8 rows x 16 bytes. The sums are those of rows.cu, bit for bit.
//   A lane has columns 4 lane .. of each chunk: sixteen bytes, and four of the 128 partial sums of a norm.
#include "backend/cuda/device/rope.cuh"
#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {

inline constexpr int kManyCore = 144;  // bytes of a core in shared memory: neighbours fall on other banks

// The warp's row of a core of 64 columns `half` of a chunk, in the block's shared memory: [128 columns][2 of 64 columns][plane][8 cores].
CARAT_DEVICE uint8_t* many_at(uint8_t* shared, int chunk, int half, int plane, int core) {
  return shared + (((chunk * 2 + half) * 2 + plane) * 8 + core) * kManyCore + warp_index() * 16;
}

// The lane's columns of a row, zeros where there are none. `columns`: a multiple of 4.
template <int kChunks>
CARAT_DEVICE void load_columns(const float* row, int columns, float (*to)[4]) {
  const int first = 4 * lane_index();
  CARAT_UNROLL for (int m = 0; m < kChunks; ++m) {
    Words4 v{0, 0, 0, 0};
    if (m * kTileColumns + first < columns) v = load<Words4>(row + m * kTileColumns + first);
    four_of(v, to[m]);
  }
}

// Rounds a row as products of integers read it (kExactForm).
template <int kChunks>
CARAT_DEVICE void many_integers(const Rounded& out, int row, const float (*value)[4], bool sums, uint8_t* shared) {
  const int lane = lane_index(), block = lane / 8, own = lane % 8;  // of the chunk, of the block's 32 columns
  const int half = block / 2, core = exact_at(0, block, 4 * own) % (2 * kExactPlane) / 128, byte = exact_at(0, block, 4 * own) % 16;
  CARAT_UNROLL for (int first = 0; first < kChunks; first += 8) {
    if (first >= out.chunks) break;
    // Lane k of eight finds the factors of the block in chunk first + k.
    uint32_t largest = 0;
    CARAT_UNROLL for (int k = 0; k < 8 && first + k < kChunks; ++k) {
      const uint32_t of_block = largest_of_block(value[first + k]);
      largest = own == k ? of_block : largest;
    }
    const BlockScale scale = scale_of_block(largest);
    if (first + own < out.chunks) *exact_scale(exact_tile(out, first + own, row), block, row % kExactRows) = scale.scale;
    CARAT_UNROLL for (int k = 0; k < 8 && first + k < kChunks; ++k) {
      const float inverse = from_lane(scale.inverse, (lane & 24) + k);
      if (first + k >= out.chunks) continue;
      HalvesOfInteger q[4];
      CARAT_UNROLL for (int e = 0; e < 4; ++e) q[e] = halves_of(value[first + k][e] * inverse);
      CARAT_UNROLL for (int odd = 0; odd < 2; ++odd) {  // neighbours of a core are every other column
        const uint32_t a = q[odd].halves, b = q[odd + 2].halves;
        *reinterpret_cast<uint32_t*>(many_at(shared, first + k, half, 0, core + odd) + byte) = choose_bytes(a, b, 0x5410);
        *reinterpret_cast<uint32_t*>(many_at(shared, first + k, half, 1, core + odd) + byte) = choose_bytes(a, b, 0x7632);
      }
      if (!sums) continue;
      int sum = q[0].q + q[1].q + q[2].q + q[3].q;  // of 16 columns
      CARAT_UNROLL for (int width = 1; width < 4; width *= 2) sum += from_lane_xor(sum, width);
      if (own % 4 == 0) *exact_sum(exact_tile(out, first + k, row), block, own / 4, row % kExactRows) = static_cast<float>(sum);
    }
  }
}

// The pieces of bf16 that core_* read (fragments 2).
template <int kChunks>
CARAT_DEVICE void many_floats(const Rounded& out, const float (*value)[4], uint8_t* shared) {
  const int lane = lane_index(), half = lane / 16, core = lane % 16 / 2, byte = lane % 2 * 8;
  CARAT_UNROLL for (int m = 0; m < kChunks; ++m) {
    if (m >= out.chunks) break;
    const float* v = value[m];
    const uint32_t first[2] = {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3])};
    *reinterpret_cast<uint64_t*>(many_at(shared, m, half, 0, core) + byte) = static_cast<uint64_t>(first[1]) << 32 | first[0];
    if (out.core_planes == 1) continue;
    uint32_t second[2];
    CARAT_UNROLL for (int i = 0; i < 2; ++i) {
      second[i] = pack_bf16(v[2 * i] - bits_to_float(first[i] << 16), v[2 * i + 1] - bits_to_float(first[i] & 0xffff0000u));
    }
    *reinterpret_cast<uint64_t*>(many_at(shared, m, half, 1, core) + byte) = static_cast<uint64_t>(second[1]) << 32 | second[0];
  }
}

// The block's eight rows, from shared memory to where they belong.
CARAT_DEVICE void many_leave(const Rounded& out, int row0, const uint8_t* shared) {
  block_barrier();
  for (int i = thread_index(); i < out.chunks * 256; i += kManyThreads) {
    const int piece = i / 64, word = i % 64, half = piece / 2 % 2, plane = piece % 2, chunk = piece / 4;
    const Words4 v = load<Words4>(shared + (piece * 8 + word / 8) * kManyCore + word % 8 * 16);
    if (out.fragments == kExactForm) {
      uint8_t* tile = exact_tile(out, chunk, row0) + half * (2 * kExactPlane) + plane * kExactPlane + row0 % kExactRows / 8 * 1024;
      *reinterpret_cast<Words4*>(tile + word * 16) = v;
    } else if (plane < out.core_planes) {
      auto* to = reinterpret_cast<uint16_t*>(out.pieces) + core_at(out, row0, chunk * kTileColumns + half * 64) + plane * core_plane(out);
      *reinterpret_cast<Words4*>(to + word * 8) = v;
    }
  }
}

// The sum of a row's squares: 128 partial sums, then halves, those of lanes first.
template <int kChunks>
CARAT_DEVICE float many_squares(const float (*value)[4]) {
  float partial[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  CARAT_UNROLL for (int m = 0; m < kChunks; ++m) {
    CARAT_UNROLL for (int e = 0; e < 4; ++e) partial[e] = fma_rn(value[m][e], value[m][e], partial[e]);
  }
  CARAT_UNROLL for (int e = 0; e < 4; ++e) partial[e] = warp_halves(partial[e]);
  return (partial[0] + partial[2]) + (partial[1] + partial[3]);
}

template <int kChunks>
CARAT_DEVICE void close_many(const ManyCloseParams& of) {
  next_may_begin();
  previous_wait();
  const CloseParams& p = of.close;
  const int row0 = static_cast<int>(blockIdx.x) * 8, row = row0 + warp_index(), lane = lane_index();
  const bool there = row < of.rows;
  const int64_t at = static_cast<int64_t>(least(row, of.rows - 1)) * p.width;
  float value[kChunks][4], h[kChunks][4];
  load_columns<kChunks>(p.projected + at, p.width, value);
  load_columns<kChunks>(p.hidden + at, p.width, h);
  for (int split = 1; split < p.splits; ++split) {
    float part[kChunks][4];
    load_columns<kChunks>(p.projected + split * p.split_stride + at, p.width, part);
    CARAT_UNROLL for (int m = 0; m < kChunks; ++m) {
      CARAT_UNROLL for (int e = 0; e < 4; ++e) value[m][e] = value[m][e] + part[m][e];
    }
  }
  const float inverse = inverse_rms(many_squares<kChunks>(value), p.width, p.epsilon);
  // Loads before stores: a load behind a store waits for it. So many at a time fit the registers.
  constexpr int kSome = kChunks / 5;
  CARAT_UNROLL for (int first = 0; first < kChunks; first += kSome) {
    float norm[kSome][4];
    load_columns<kSome>(p.post_norm + first * kTileColumns, p.width - first * kTileColumns, norm);
    CARAT_UNROLL for (int m = 0; m < kSome; ++m) {
      CARAT_UNROLL for (int e = 0; e < 4; ++e) h[first + m][e] = h[first + m][e] + (value[first + m][e] * inverse) * norm[m][e];
    }
    keep_order();
  }
  const bool last = p.next_norm == nullptr;
  load_columns<kChunks>(p.next_norm, last ? 0 : p.width, value);
  keep_order();
  CARAT_UNROLL for (int m = 0; m < kChunks; ++m) {
    const int i = m * kTileColumns + 4 * lane;
    if (!there || i >= p.width) continue;
    *reinterpret_cast<Words4*>(p.hidden + at + i) = {float_bits(h[m][0]), float_bits(h[m][1]), float_bits(h[m][2]), float_bits(h[m][3])};
  }
  if (last) return;
  const float factor = inverse_rms(many_squares<kChunks>(h), p.width, p.epsilon);
  uint8_t* shared = shared_memory();
  const bool integers = p.out.fragments == kExactForm;
  CARAT_UNROLL for (int m = 0; m < kChunks; ++m) {
    CARAT_UNROLL for (int e = 0; e < 4; ++e) value[m][e] = (integers ? h[m][e] : h[m][e] * factor) * value[m][e];
  }
  if (integers) {
    many_integers<kChunks>(p.out, row, value, of.sums != 0, shared);
  } else {
    many_floats<kChunks>(p.out, value, shared);
  }
  if (lane == 0 && there) p.out.factors[row] = factor;
  many_leave(p.out, row0, shared);
}
CARAT_KERNEL(close_many_10, ManyCloseParams, kManyThreads, 2) { close_many<10>(p); }
CARAT_KERNEL(close_many_20, ManyCloseParams, kManyThreads, 1) { close_many<20>(p); }

template <int kChunks>
CARAT_DEVICE void round_many(const ManyRoundParams& of) {
  next_may_begin();
  previous_wait();
  const Rounded& out = of.round.out;
  const int row0 = static_cast<int>(blockIdx.x) * 8, row = row0 + warp_index();
  float value[kChunks][4];
  load_columns<kChunks>(of.round.values + static_cast<int64_t>(least(row, of.rows - 1)) * out.columns, out.columns, value);
  uint8_t* shared = shared_memory();
  if (out.fragments == kExactForm) {
    many_integers<kChunks>(out, row, value, of.sums != 0, shared);
  } else {
    many_floats<kChunks>(out, value, shared);
  }
  if (lane_index() == 0 && row < of.rows) out.factors[row] = 1.0f;
  many_leave(out, row0, shared);
}
CARAT_KERNEL(round_many_10, ManyRoundParams, kManyThreads, 2) { round_many<10>(p); }
CARAT_KERNEL(round_many_20, ManyRoundParams, kManyThreads, 1) { round_many<20>(p); }

// prepare_heads for heads of 256: a warp for each query, key and value of a row. A lane has columns 4 lane .. and those half a head
// further, which turn with them, so it has partial sums 4 lane .. of the 128, too.
CARAT_KERNEL(prepare_many, ManyHeadsParams, kManyThreads, 4) {
  constexpr int E = kOneHead, kHalf = E / 2;
  next_may_begin();
  const HeadsParams& h = p.heads;
  const int lane = lane_index(), all = h.heads + 2 * h.kv_heads;
  const int unit = static_cast<int>(blockIdx.x) * (kManyThreads / 32) + warp_index(), row = unit / all, head = unit % all;
  if (row >= p.rows) return;
  const bool is_query = head < h.heads, is_value = head >= h.heads + h.kv_heads;
  const float* weights = (is_query ? h.q_norm : h.k_norm) + 4 * lane;
  float* x = h.qkv + (static_cast<int64_t>(row) * all + head) * E + 4 * lane;
  const int64_t angle = static_cast<int64_t>(row) * kHalf + 4 * lane;
  float value[2][4], norm[2][4], cosine[4], sine[4];
  CARAT_UNROLL for (int half = 0; half < 2; ++half) load_four(weights + half * kHalf, norm[half]);
  previous_wait();
  const int place = h.places[row];
  CARAT_UNROLL for (int half = 0; half < 2; ++half) load_four(x + half * kHalf, value[half]);
  load_four(h.cosines + angle, cosine);
  load_four(h.sines + angle, sine);
  if (!is_value) {
    float partial[4];
    CARAT_UNROLL for (int e = 0; e < 4; ++e) partial[e] = fma_rn(value[1][e], value[1][e], fma_rn(value[0][e], value[0][e], 0.0f));
    // Halves of lanes first; each half goes on with half of the sums.
    const bool upper = (lane & 16) != 0, odd = (lane & 8) != 0;
    float two[2];
    CARAT_UNROLL for (int e = 0; e < 2; ++e) {
      two[e] = (upper ? partial[e + 2] : partial[e]) + from_lane_xor(upper ? partial[e] : partial[e + 2], 16);
    }
    float sum = (odd ? two[1] : two[0]) + from_lane_xor(odd ? two[0] : two[1], 8);
    for (int width = 4; width > 0; width /= 2) sum = sum + from_lane_xor(sum, width);
    sum = sum + from_lane_xor(sum, 16);
    sum = sum + from_lane_xor(sum, 8);
    const float inverse = inverse_rms(sum, E, h.epsilon);
    CARAT_UNROLL for (int e = 0; e < 4; ++e) {
      const float a = (value[0][e] * inverse) * norm[0][e], b = (value[1][e] * inverse) * norm[1][e];
      value[0][e] = fma_rn(a, cosine[e], -(b * sine[e]));
      value[1][e] = fma_rn(b, cosine[e], a * sine[e]);
    }
  }
  if (is_query) {
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      uint32_t words[4];
      CARAT_UNROLL for (int e = 0; e < 4; ++e) words[e] = float_bits(value[half][e] * h.query_scale);
      *reinterpret_cast<Words4*>(x + half * kHalf) = {words[0], words[1], words[2], words[3]};
    }
    return;
  }
  const int kv_head = is_value ? head - h.heads - h.kv_heads : head - h.heads, slot = place % kKeysPerPage;
  uint16_t* page = (is_value ? h.v_cache : h.k_cache) + (static_cast<int64_t>(place / kKeysPerPage) * h.kv_heads + kv_head) * kKeysPerPage * E;
  CARAT_UNROLL for (int half = 0; half < 2; ++half) {
    const int column = half * kHalf + 4 * lane;
    uint16_t* to = page + (is_value ? slot * E + column : (column / 8 * kKeysPerPage + slot) * 8 + column % 8);
    uint32_t halves[2];
    CARAT_UNROLL for (int e = 0; e < 2; ++e) halves[e] = pack_halves(clamp_to_half(value[half][2 * e]), clamp_to_half(value[half][2 * e + 1]));
    *reinterpret_cast<uint64_t*>(to) = static_cast<uint64_t>(halves[1]) << 32 | halves[0];
  }
}

}  // namespace carat::cuda
