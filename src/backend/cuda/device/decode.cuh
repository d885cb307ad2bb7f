// What the stages of decode_row share: words that blocks tell each other, a warp's ring of tiles, a block's view of the row.
#pragma once

#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/ring.cuh"
#include "backend/cuda/device/rope.cuh"

namespace carat::cuda {

inline constexpr int kFewSplits = 4;  // so many splits every block puts together for itself
inline constexpr int kOwnBlocks = 3;  // blocks of 32 columns that a warp asks for at once

CARAT_DEVICE uint64_t word_of(float value, uint32_t epoch) { return static_cast<uint64_t>(epoch) << 32 | float_bits(value); }
CARAT_DEVICE void tell(uint64_t* word, float value, uint32_t epoch) { store_fresh(word, word_of(value, epoch)); }

// A whole warp's: waits for `kCount` words a lane, of which a lane wants those with want(k).
template <int kCount, class Want, class Place>
CARAT_DEVICE void hear(float* values, uint32_t epoch, Want want, Place place) {
  bool all;
  do {
    all = true;
    CARAT_UNROLL for (int k = 0; k < kCount; ++k) {
      if (!want(k)) continue;
      const uint64_t word = load_fresh(place(k));
      values[k] = bits_to_float(static_cast<uint32_t>(word));
      all = all && static_cast<uint32_t>(word >> 32) == epoch;
    }
  } while (!warp_all(all));
}

// Tiles in the order of a list, which a lane holds 32 entries apart.
struct ListedTiles {
  const uint64_t* tiles;
  uint32_t begun, end, next;  // of tiles; the next to be asked for
  uint64_t these, following;  // of the 32 around next, and of those after

  CARAT_METHOD void begin() {
    these = entry(begun + lane_index());
    following = entry(begun + 32 + lane_index());
  }
  CARAT_METHOD uint64_t entry(uint32_t at) const { return at < end ? tiles[at] : 0; }
  CARAT_METHOD bool more() const { return next < end; }
  CARAT_METHOD TilePlace take() {
    const uint64_t tile = from_lane(these, static_cast<int>(next - begun) & 31);
    ++next;
    if (((next - begun) & 31) == 0) {
      these = following;
      following = entry(next + 32 + lane_index());
    }
    return {reinterpret_cast<const uint8_t*>(tile & 0xffffffffffffull), static_cast<uint32_t>(tile >> 48) * 16};
  }
};
using DecodeRing = Ring<ListedTiles>;

// A warp's segments of one part of a stage, into part[item][8]. The input lies in shared memory: offsets, so that the
// compiler knows where.
struct PartItems {
  DecodeRing& ring;
  int integers, floats, chunks, first, count;
  float* part;
  template <TileType kType>
  CARAT_METHOD void run() const {
    Rounded x{};
    const int blocks = chunks * kTileBlocks, lane = lane_index();
    uint8_t* at = shared_memory() + integers;
    x.planes = at;
    x.scales = reinterpret_cast<float*>(at + blocks * 64);
    x.sums = reinterpret_cast<int32_t*>(at + blocks * 68);
    x.values = reinterpret_cast<float*>(shared_memory() + floats);
    x.chunks = chunks;
    DecodeRing mine = ring;
    int chunk = first % chunks, item = first;
    const auto step = [&] {
      chunk += kDecodeWarps;
      while (chunk >= chunks) chunk -= chunks;
    };
    CARAT_UNROLL_1 for (; item + kDecodeWarps < count; item += 2 * kDecodeWarps) {  // two at a time: neither waits for its own
      const int chunk0 = chunk;
      step();
      const uint8_t *tile0 = mine.wait(0), *tile1 = mine.wait(1);
      float acc[2];
      segment_of_rows<kType, 1, true>(tile0, x, chunk0, lane, acc);
      segment_of_rows<kType, 1, true>(tile1, x, chunk, lane, acc + 1);
      if (lane >= 24) {
        part[item * 8 + lane - 24] = acc[0];
        part[(item + kDecodeWarps) * 8 + lane - 24] = acc[1];
      }
      warp_barrier();
      mine.done();
      mine.done();
      step();
    }
    if (item < count) {
      float acc[1];
      segment_of_rows<kType, 1, true>(mine.wait(0), x, chunk, lane, acc);
      if (lane >= 24) part[item * 8 + lane - 24] = acc[0];
      warp_barrier();
      mine.done();
    }
    ring = mine;
  }
};
CARAT_OUTLINE void part_items(TileType type, DecodeRing* ring, int integers, int floats, int chunks, int first, int count, float* part) {
  for_type(type, PartItems{*ring, integers, floats, chunks, first, count, part});
}

// A block's view.
struct Decode {
  const DecodeParams& p;
  DecodeRing* ring;
  float *hidden, *y, *cosines, *sines, *scratch, *heads, *part;
  uint32_t* gated;
  uint8_t* x_memory;

  // Input of a product in shared memory.
  // Its factor: 1 / rms, or one that stays 1.
  CARAT_METHOD Rounded input(int columns, int rounded, bool normed) const {
    Rounded x{};
    x.columns = columns;
    x.chunks = (columns + kTileColumns - 1) / kTileColumns;
    x.rows16 = 16;
    x.integers = rounded & 1;
    x.floats = rounded >> 1;
    const int blocks = x.chunks * kTileBlocks;
    x.factors = scratch + (normed ? 128 : 129);
    x.values = reinterpret_cast<float*>(x_memory);
    uint8_t* integers = x_memory + (x.floats != 0 ? blocks * 128 : 0);
    x.planes = integers;
    x.scales = reinterpret_cast<float*>(integers + blocks * 64);
    x.sums = reinterpret_cast<int32_t*>(integers + blocks * 68);
    return x;
  }

  // When this layer's stage `point` began, by the first block's clock.
  CARAT_METHOD void stamp(int layer, int point) const {
    if (p.stamps != nullptr && blockIdx.x == 0 && thread_index() == 0) p.stamps[layer * kDecodeStamps + point] = nanoseconds();
  }

  // Every lane of a warp gets 1 / rms of x.
  CARAT_METHOD float inverse_of(const float* x, int count) const {
    float partial[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    const int lane = lane_index();
    CARAT_UNROLL_3 for (int first = 0; first < count; first += kRowThreads) {
      CARAT_UNROLL for (int k = 0; k < 4; ++k) {
        const int i = first + lane + 32 * k;
        if (i < count) partial[k] = fma_rn(x[i], x[i], partial[k]);
      }
    }
    return inverse_rms(warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3])), count, p.epsilon);
  }

  // hidden += norm(what the product before left), where `words` is not null; then hidden, normed, is the next product's input.
  CARAT_METHOD Rounded take_hidden(const uint64_t* words, int flags, uint32_t epoch, const float* post_norm, const float* norm,
                                   int rounded) const {
    const int D = p.width, lane = lane_index(), warp = warp_index();
    const Rounded x = input(D, rounded, true);
    const int blocks = (D + 31) / 32;
    if (words != nullptr) {
      for (int first = warp; first < blocks; first += kDecodeWarps * kOwnBlocks) {
        const auto column = [&](int k) { return (first + k * kDecodeWarps) * 32 + lane; };
        float value[kOwnBlocks];
        hear<kOwnBlocks>(
            value, epoch, [&](int k) { return column(k) < D; }, [&](int k) { return words + column(k); });
        CARAT_UNROLL for (int k = 0; k < kOwnBlocks; ++k) {
          if (column(k) < D) y[column(k)] = value[k];
        }
      }
      for (int first = warp * 32; first < flags; first += kDecodeThreads) {
        float none[1];
        hear<1>(
            none, epoch, [&](int) { return first + lane < flags; }, [&](int) { return words + D + first + lane; });
      }
      block_barrier();
      const float inverse = inverse_of(y, D);
      for (int first = warp; first < blocks; first += kDecodeWarps * kOwnBlocks) {
        CARAT_UNROLL for (int k = 0; k < kOwnBlocks; ++k) {
          const int i = (first + k * kDecodeWarps) * 32 + lane;
          if (i < D) hidden[i] = hidden[i] + (y[i] * inverse) * post_norm[i];
        }
      }
    }
    // A lane reads what it wrote itself, as long as nothing is normed before it is rounded.
    if (x.integers != 0) {
      for (int first = warp; first < x.chunks * kTileBlocks; first += kDecodeWarps * kOwnBlocks) {
        RoundedBlock r[kOwnBlocks];
        CARAT_UNROLL for (int k = 0; k < kOwnBlocks; ++k) {
          const int i = (first + k * kDecodeWarps) * 32 + lane;
          r[k] = round_value(i < D ? hidden[i] * norm[i] : 0.0f);
        }
        CARAT_UNROLL for (int k = 0; k < kOwnBlocks; ++k) {
          const int block = first + k * kDecodeWarps;
          if (block < x.chunks * kTileBlocks) store_block(x, block, r[k]);
        }
      }
    }
    block_barrier();
    if (x.floats != 0) {
      const float inverse = inverse_of(hidden, D);
      for (int i = thread_index(); i < x.chunks * kTileColumns; i += kDecodeThreads) {
        x.values[i] = i < D ? (hidden[i] * inverse) * norm[i] : 0.0f;
      }
      if (thread_index() == 0) x.factors[0] = inverse;
      block_barrier();
    } else if (warp == kDecodeWarps - 1) {  // the others multiply meanwhile
      const float inverse = inverse_of(hidden, D);
      if (lane == 0) x.factors[0] = inverse;
    }
    return x;
  }
};

}  // namespace carat::cuda
