// What the stages of decode_row share: words that blocks tell each other, the ring of weights, a product's input.
#pragma once

#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/rope.cuh"

namespace carat::cuda {

inline constexpr int kPrepared = 9;  // chunks of an input that are prepared at once
inline constexpr int kTeamReady = 1, kTeamTotals = 2, kTeamPreparing = 3, kTeamScores = 4, kTeamValues = 5;  // barriers

// Sizes known when the kernel is compiled (1: the 1B's), or only when it runs (0). A layer's code must be small: all of it is run
// once a layer, and what the instruction cache does not hold comes from L2.
template <int kShape>
struct Sizes {
  CARAT_METHOD static int width(const DecodeParams& p) { return kShape == 1 ? 1152 : p.width; }
  CARAT_METHOD static int between(const DecodeParams& p) { return kShape == 1 ? 6912 : p.ffn_width; }
  CARAT_METHOD static int heads(const DecodeParams& p) { return kShape == 1 ? 4 : p.heads; }
  CARAT_METHOD static int kv_heads(const DecodeParams& p) { return kShape == 1 ? 1 : p.kv_heads; }
  CARAT_METHOD static int head_size(const DecodeParams& p) { return kShape == 1 ? 256 : p.head_size; }
};

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

// The ring of weights in shared memory: places for pieces, each with an arrival that says that it is there (full) and one that
// says that all workers are done with it (empty).
struct WeightRing {
  int slots, arrivals, depth, slot_bytes;
  int slot;
  uint32_t parity;

  CARAT_METHOD uint64_t* full(int at) const { return reinterpret_cast<uint64_t*>(shared_memory() + arrivals) + at; }
  CARAT_METHOD uint64_t* empty(int at) const { return full(at) + kMostPieces; }
  CARAT_METHOD uint8_t* place(int at) const { return shared_memory() + slots + at * slot_bytes; }
  // One thread's.
  CARAT_METHOD void begin() const {
    for (int s = 0; s < depth; ++s) {
      arrival_init(full(s), kBulkCopies ? 1 : 32);
      arrival_init(empty(s), kWorkers);
    }
    arrival_fence();
  }
  CARAT_METHOD void step() {
    if (++slot == depth) {
      slot = 0;
      parity ^= 1;
    }
  }
  // A worker's: the next piece, and when the whole warp has read it.
  CARAT_METHOD const uint8_t* wait() const {
    arrival_wait(full(slot), parity);
    return place(slot);
  }
  CARAT_METHOD void done(int at) const {
    if (lane_index() == 0) arrival_arrive(empty(at));
  }
};

// The producer's warp: pieces in the order of a list, `at_once` on their way; of the head, which nothing else disturbs, more.
CARAT_DEVICE void bring_weights(const DecodeParams& p, WeightRing ring) {
  const auto block = static_cast<int>(blockIdx.x);
  const uint32_t begun = p.first_piece[block], head = p.head_piece[block];
  const uint32_t end = p.best != nullptr ? p.first_piece[block + 1] : head;
  const int lane = lane_index();
  const auto entry = [&](uint32_t at) { return at < end ? p.pieces[at] : 0; };
  uint64_t these = entry(begun + lane), following = entry(begun + 32 + lane);  // a lane holds every 32nd
  WeightRing oldest = ring;
  int on_their_way = 0;
  for (uint32_t next = begun; next < end; ++next) {
    const uint64_t piece = from_lane(these, static_cast<int>(next - begun) & 31);
    if (((next + 1 - begun) & 31) == 0) {
      these = following;
      following = entry(next + 33 + lane);
    }
    const auto* from = reinterpret_cast<const uint8_t*>(piece & 0xffffffffffffull);
    const uint32_t bytes = static_cast<uint32_t>(piece >> 48) * 16;
    arrival_wait(ring.empty(ring.slot), ring.parity ^ 1);
    const int most_at_once = next < head ? p.at_once_layers : p.at_once_head;
    while (on_their_way >= most_at_once) {
      oldest.wait();
      oldest.step();
      --on_their_way;
    }
    ++on_their_way;
    warp_barrier();  // all lanes have seen what they waited for: the place's phase may change
    uint8_t* to = ring.place(ring.slot);
    if constexpr (kBulkCopies) {
      if (lane == 0) {
        arrival_expect(ring.full(ring.slot), bytes);
        bulk_copy(to, from, bytes, ring.full(ring.slot));
      }
    } else {
      for (uint32_t i = static_cast<uint32_t>(lane) * 16; i < bytes; i += 512) copy_async_16(to + i, from + i);
      copy_async_arrive(ring.full(ring.slot));
    }
    ring.step();
  }
  while (on_their_way-- > 0) {  // none is left behind
    oldest.wait();
    oldest.step();
  }
}

// A product's input in shared memory: a record a chunk (params.h), values for floats.
struct DecodeInput {
  uint8_t* records;
  float* values;
  int columns, chunks;
  bool integers, floats;

  CARAT_METHOD void begin(int memory, int in_columns, int forms) {
    columns = in_columns;
    chunks = (columns + kTileColumns - 1) / kTileColumns;
    integers = (forms & 1) != 0;
    floats = (forms & 2) != 0;
    values = reinterpret_cast<float*>(shared_memory() + memory);
    records = shared_memory() + memory + (floats ? chunks * kTileColumns * 4 : 0);
  }
};

// kPrepared values of a thread, of one column in as many chunks from `first`, rounded; the warp has block `warp` of each.
// kHalves: some product wants the sums of 16.
template <bool kHalves>
CARAT_DEVICE void round_columns(const DecodeInput& x, int chunks, int first, int warp, const float* value) {
  const int lane = lane_index();
  uint32_t largest = 0;
  CARAT_UNROLL for (int k = 0; k < kPrepared; ++k) {
    const uint32_t of_block = warp_max(float_bits(value[k]) & 0x7fffffffu);
    largest = lane == k ? of_block : largest;
  }
  // A lane for each chunk.
  const float magnitude = bits_to_float(largest);
  const bool broken = largest >= 0x7f800000u, zero = !(magnitude > 1e-30f);
  const float inverse = zero || broken ? 0.0f : div_rn(16383.0f, magnitude);
  const float scale = broken ? bits_to_float(0x7fc00000u) : zero ? 0.0f : div_rn(magnitude, 16383.0f);
  int low_sum = 0, high_sum = 0;
  CARAT_UNROLL for (int k = 0; k < kPrepared; ++k) {
    const float factor = from_lane(inverse, k);
    const int q = round_to_int(value[k] * factor);  // 0 where the block is broken
    if constexpr (kHalves) {
      int sum = q;
      CARAT_UNROLL for (int width = 8; width > 0; width /= 2) sum += from_lane_xor(sum, width);
      const int other = from_lane(sum, 16);
      const int first_half = from_lane(sum, 0);
      low_sum = lane == k ? first_half : low_sum;
      high_sum = lane == k ? other : high_sum;
    } else {
      const int sum = warp_add(q);
      low_sum = lane == k ? sum : low_sum;
    }
    if (first + k < chunks) {
      uint8_t* planes = x.records + (first + k) * kRecordBytes + warp * 64 + lane;
      planes[0] = static_cast<uint8_t>(q >> 7);
      planes[32] = static_cast<uint8_t>(q & 127);
    }
  }
  if (lane < kPrepared && first + lane < chunks) {
    uint8_t* record = x.records + (first + lane) * kRecordBytes;
    reinterpret_cast<float*>(record + kRecordScales)[warp] = scale;
    auto* sums = reinterpret_cast<int32_t*>(record + kRecordSums) + 2 * warp;
    sums[0] = low_sum;
    sums[1] = high_sum;
  }
}

// Every lane of a warp gets the sum of 128 partial ones, in halves.
CARAT_DEVICE float sum_of_partials(const float* partials) {
  const int lane = lane_index();
  return warp_halves((partials[lane] + partials[lane + 64]) + (partials[lane + 32] + partials[lane + 96]));
}

// A block's view.
struct Decode {
  const DecodeParams& p;
  float *hidden, *y, *cosines, *sines, *scratch, *heads;
  uint32_t* gated;
  uint64_t* since;  // by the first block's clock

  // The first thread of the first block charges the time since the last call to a stage.
  CARAT_METHOD void stamp(int stage) const {
    if (blockIdx.x != 0 || thread_index() != 0) return;
    const uint64_t now = nanoseconds();
    if (stage >= 0) since[1 + stage] += now - since[0];
    since[0] = now;
  }

  // 1 / rms of what take_hidden left, for the results of a product.
  CARAT_METHOD float factor(int width) const { return inverse_rms(sum_of_partials(scratch + kRowThreads), width, p.epsilon); }

  // By the preparing warps: hidden += norm(what the product before left), where `words` is not null; then hidden, normed, is x.
  // Thread t has the columns t + 128 k, which is partial sum t of a norm.
  template <int kShape, bool kHalves>
  CARAT_METHOD void take_hidden(const DecodeInput& x, const uint64_t* words, int flags, uint32_t epoch, const float* post_norm,
                                const float* norm) const {
    const int D = Sizes<kShape>::width(p), chunks = (D + kTileColumns - 1) / kTileColumns, t = thread_index(), warp = warp_index();
    float inverse = 0.0f, post[kPrepared], next[kPrepared];
    const auto load_norms = [&](int first) {
      CARAT_UNROLL for (int k = 0; k < kPrepared; ++k) {
        const int column = (first + k) * kRowThreads + t;
        post[k] = words != nullptr && column < D ? post_norm[column] : 0.0f;
        next[k] = column < D ? norm[column] : 0.0f;
      }
    };
    load_norms(0);  // before the words are there
    if (words != nullptr) {
      float squares = 0.0f;
      for (int first = 0; first < chunks; first += kPrepared) {
        float value[kPrepared] = {};
        const auto column = [&](int k) { return (first + k) * kRowThreads + t; };
        hear<kPrepared>(
            value, epoch, [&](int k) { return column(k) < D; }, [&](int k) { return words + column(k); });
        CARAT_UNROLL for (int k = 0; k < kPrepared; ++k) {
          if (column(k) >= D) continue;
          squares = fma_rn(value[k], value[k], squares);
          y[column(k)] = value[k];
        }
      }
      scratch[t] = squares;
      for (int first = warp * 32; first < flags; first += kRowThreads) {
        float none[1];
        hear<1>(
            none, epoch, [&](int) { return first + lane_index() < flags; }, [&](int) { return words + D + first + lane_index(); });
      }
      team_barrier(kTeamPreparing, kRowThreads);
      inverse = inverse_rms(sum_of_partials(scratch), D, p.epsilon);
    }
    float squares = 0.0f;
    for (int first = 0; first < chunks; first += kPrepared) {
      if (first != 0) load_norms(first);
      float value[kPrepared];
      CARAT_UNROLL for (int k = 0; k < kPrepared; ++k) {
        const int column = (first + k) * kRowThreads + t;
        value[k] = 0.0f;
        if (column >= D) continue;
        float h = hidden[column];
        if (words != nullptr) {
          h = h + (y[column] * inverse) * post[k];
          hidden[column] = h;
        }
        squares = fma_rn(h, h, squares);
        value[k] = h * next[k];
      }
      if (x.integers) round_columns<kHalves>(x, chunks, first, warp, value);
    }
    scratch[kRowThreads + t] = squares;
    if (x.floats) {
      team_barrier(kTeamPreparing, kRowThreads);
      inverse = factor(D);
      for (int column = t; column < chunks * kTileColumns; column += kRowThreads) {
        x.values[column] = column < D ? (hidden[column] * inverse) * norm[column] : 0.0f;
      }
    }
  }
};

}  // namespace carat::cuda
