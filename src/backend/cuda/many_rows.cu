// Rows between products, where there are many: a warp for each, its values in registers and all asked for at once, eight rows a
// block, whose 16-bit results leave as whole cores of 8 rows x 16 bytes. The sums are those of rows.cu, bit for bit.
#include "backend/cuda/device/rounding.cuh"

namespace carat::cuda {

inline constexpr int kManyCore = 144;  // bytes of a core in shared memory: neighbours fall on other banks

// Column `lane` of 32 columns `block` of the warp's row, into the block's shared memory: [128 columns][2 of 64 columns][plane][8 cores].
CARAT_DEVICE uint8_t* many_at(uint8_t* shared, int block, int plane, int core) {
  return shared + (((block / 4 * 2 + block / 2 % 2) * 2 + plane) * 8 + core) * kManyCore + warp_index() * 16;
}

// Rounds blocks of a row as products of integers read them (kExactForm).
template <int kBlocks>
CARAT_DEVICE void many_integers(const Rounded& out, int row, const float* values, bool sums, uint8_t* shared) {
  const int lane = lane_index(), blocks = out.chunks * kTileBlocks;
  const int place = exact_at(0, 0, lane), core = place / 128, byte = place % 16;
  CARAT_UNROLL for (int first = 0; first < kBlocks; first += 32) {
    if (first >= blocks) break;
    // Lane k finds the factors of block first + k.
    uint32_t largest = 0;
    CARAT_UNROLL for (int k = 0; k < 32 && first + k < kBlocks; ++k) {
      const uint32_t of_block = warp_max(float_bits(values[first + k]) & 0x7fffffffu);
      if (lane == k) largest = of_block;
    }
    const BlockScale scale = scale_of_block(largest);
    if (first + lane < blocks) *exact_scale(exact_tile(out, (first + lane) / kTileBlocks, row), lane % kTileBlocks, row % kExactRows) = scale.scale;
    CARAT_UNROLL for (int k = 0; k < 32 && first + k < kBlocks; ++k) {
      const int block = first + k;
      const int q = round_to_int(values[block] * from_lane(scale.inverse, k));
      if (block >= blocks) continue;
      *reinterpret_cast<uint16_t*>(many_at(shared, block, 0, block % 2 * 4 + core) + byte) = int_to_half(q & ~127);
      *reinterpret_cast<uint16_t*>(many_at(shared, block, 1, block % 2 * 4 + core) + byte) = int_to_half(q & 127);
      if (!sums) continue;
      const int low = warp_add(lane < 16 ? q : 0), high = warp_add(lane < 16 ? 0 : q);
      if (lane < 2) *exact_sum(exact_tile(out, block / kTileBlocks, row), block % kTileBlocks, lane, row % kExactRows) = static_cast<float>(lane == 0 ? low : high);
    }
  }
}

// The pieces of bf16 that core_* read (fragments 2).
template <int kBlocks>
CARAT_DEVICE void many_floats(const Rounded& out, const float* values, uint8_t* shared) {
  const int lane = lane_index(), core = lane / 8, byte = lane % 8 * 2;
  CARAT_UNROLL for (int block = 0; block < kBlocks; ++block) {
    if (block >= out.chunks * kTileBlocks) break;
    const uint16_t high = to_bf16(values[block]);
    *reinterpret_cast<uint16_t*>(many_at(shared, block, 0, block % 2 * 4 + core) + byte) = high;
    if (out.core_planes == 1) continue;
    const float rest = values[block] - bits_to_float(static_cast<uint32_t>(high) << 16);
    *reinterpret_cast<uint16_t*>(many_at(shared, block, 1, block % 2 * 4 + core) + byte) = to_bf16(rest);
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

// The sum over a row of which a lane holds the elements lane + 32 k: 128 partial sums, then halves.
template <int kBlocks>
CARAT_DEVICE float many_squares(const float* values) {
  float partial[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) partial[k % 4] = fma_rn(values[k], values[k], partial[k % 4]);
  return warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3]));
}

template <int kBlocks>
CARAT_DEVICE void close_many(const ManyCloseParams& of) {
  next_may_begin();
  previous_wait();
  const CloseParams& p = of.close;
  const int row0 = static_cast<int>(blockIdx.x) * 8, row = row0 + warp_index(), lane = lane_index();
  const bool there = row < of.rows;
  const int64_t at = static_cast<int64_t>(least(row, of.rows - 1)) * p.width + lane;
  float value[kBlocks], h[kBlocks];
  CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) {
    const bool inside = lane + 32 * k < p.width;
    value[k] = inside ? p.projected[at + 32 * k] : 0.0f;
    h[k] = inside ? p.hidden[at + 32 * k] : 0.0f;
  }
  for (int split = 1; split < p.splits; ++split) {
    CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) {
      if (lane + 32 * k < p.width) value[k] = value[k] + p.projected[split * p.split_stride + at + 32 * k];
    }
  }
  const float inverse = inverse_rms(many_squares<kBlocks>(value), p.width, p.epsilon);
  // Loads before stores: a load behind a store waits for it.
  constexpr int kSome = kBlocks / 4;  // so many at a time fit the registers
  CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) {
    const int i = lane + 32 * k;
    if (k % kSome == 0) keep_order();
    if (i < p.width) h[k] = h[k] + (value[k] * inverse) * p.post_norm[i];
  }
  keep_order();
  const bool last = p.next_norm == nullptr;
  CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) {
    value[k] = lane + 32 * k < p.width && !last ? p.next_norm[lane + 32 * k] : 0.0f;
  }
  keep_order();
  CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) {
    if (there && lane + 32 * k < p.width) p.hidden[at + 32 * k] = h[k];
  }
  if (last) return;
  const float factor = inverse_rms(many_squares<kBlocks>(h), p.width, p.epsilon);
  uint8_t* shared = shared_memory();
  CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) {
    value[k] = p.out.fragments == kExactForm ? h[k] * value[k] : (h[k] * factor) * value[k];
  }
  if (p.out.fragments == kExactForm) {
    many_integers<kBlocks>(p.out, row, value, of.sums != 0, shared);
  } else {
    many_floats<kBlocks>(p.out, value, shared);
  }
  if (lane == 0 && there) p.out.factors[row] = factor;
  many_leave(p.out, row0, shared);
}
CARAT_KERNEL(close_many_40, ManyCloseParams, kManyThreads, 2) { close_many<40>(p); }
CARAT_KERNEL(close_many_80, ManyCloseParams, kManyThreads, 1) { close_many<80>(p); }

template <int kBlocks>
CARAT_DEVICE void round_many(const ManyRoundParams& of) {
  next_may_begin();
  previous_wait();
  const Rounded& out = of.round.out;
  const int row0 = static_cast<int>(blockIdx.x) * 8, row = row0 + warp_index(), lane = lane_index();
  const float* from = of.round.values + static_cast<int64_t>(least(row, of.rows - 1)) * out.columns + lane;
  float value[kBlocks];
  CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) value[k] = lane + 32 * k < out.columns ? from[32 * k] : 0.0f;
  uint8_t* shared = shared_memory();
  if (out.fragments == kExactForm) {
    many_integers<kBlocks>(out, row, value, of.sums != 0, shared);
  } else {
    many_floats<kBlocks>(out, value, shared);
  }
  if (lane == 0 && row < of.rows) out.factors[row] = 1.0f;
  many_leave(out, row0, shared);
}
CARAT_KERNEL(round_many_40, ManyRoundParams, kManyThreads, 2) { round_many<40>(p); }
CARAT_KERNEL(round_many_80, ManyRoundParams, kManyThreads, 1) { round_many<80>(p); }

}  // namespace carat::cuda
