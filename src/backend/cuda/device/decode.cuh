// What the stages of decode_row share: words that blocks tell each other, the ring of weights, a product's input.
#pragma once

#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/rope.cuh"

namespace carat::cuda {

inline constexpr int kNormed = 9;  // columns of a finisher's thread that are normed at once
// Barriers: of all that compute, of the finishers, of attention's teams, of the pairs of workers (nine).
inline constexpr int kTeamNorm = 1, kTeamFactor = 2, kTeamFinishers = 3, kTeamScores = 4, kTeamValues = 5, kTeamPairs = 6;

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
// says that the set of workers that multiplies it is done (empty).
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
      arrival_init(empty(s), kSetWarps);
    }
  }
  CARAT_METHOD void step() {
    if (++slot == depth) {
      slot = 0;
      parity ^= 1;
    }
  }
  // A worker's: the next piece.
  CARAT_METHOD const uint8_t* wait() const {
    arrival_wait(full(slot), parity);
    return place(slot);
  }
};

// Two places for a round's segments, in turns: the workers write one while the finishers read the other.
struct PartPlaces {
  float* parts;
  uint64_t* arrivals;  // written[2], read[2]
  uint32_t turn;

  // One thread's.
  CARAT_METHOD void begin() const {
    for (int s = 0; s < 2; ++s) {
      arrival_init(arrivals + s, kWorkers);
      arrival_init(arrivals + 2 + s, kFinishers);
    }
  }
  CARAT_METHOD float* place() const { return parts + (turn & 1) * (kPartItems * 8); }
  // A worker's warp: before it writes, after it has written.
  CARAT_METHOD void before() const {
    if (turn >= 2) arrival_wait(arrivals + 2 + (turn & 1), (turn / 2 - 1) & 1);
  }
  CARAT_METHOD void written() {
    warp_barrier();
    if (lane_index() == 0) arrival_arrive(arrivals + (turn & 1));
    ++turn;
  }
  // A finisher's warp: before it reads, after it has read.
  CARAT_METHOD void wait() const { arrival_wait(arrivals + (turn & 1), (turn / 2) & 1); }
  CARAT_METHOD void read() {
    warp_barrier();
    if (lane_index() == 0) arrival_arrive(arrivals + 2 + (turn & 1));
    ++turn;
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
  uint32_t next = begun;
  const auto take = [&] {
    const uint64_t piece = from_lane(these, static_cast<int>(next - begun) & 31);
    ++next;
    if (((next - begun) & 31) == 0) {
      these = following;
      following = entry(next + 32 + lane);
    }
    return piece;
  };
  WeightRing oldest = ring;
  int on_their_way = 0;
  while (next < end) {
    const int most_at_once = next < head ? p.at_once_layers : p.at_once_head;
    const uint64_t piece = take();
    const bool two = (piece & 1) != 0;
    const uint64_t second = two ? take() : 0;
    const uint32_t bytes = static_cast<uint32_t>(piece >> 48) * 16;
    const auto address = [](uint64_t of) { return reinterpret_cast<const uint8_t*>(of & 0xfffffffffff0ull); };
    arrival_wait(ring.empty(ring.slot), ring.parity ^ 1);
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
        arrival_expect(ring.full(ring.slot), two ? 2 * bytes : bytes);
        bulk_copy(to, address(piece), bytes, ring.full(ring.slot));
        if (two) bulk_copy(to + bytes, address(second), bytes, ring.full(ring.slot));
      }
    } else {
      for (uint32_t i = static_cast<uint32_t>(lane) * 16; i < bytes; i += 512) {
        copy_async_16(to + i, address(piece) + i);
        if (two) copy_async_16(to + bytes + i, address(second) + i);
      }
      copy_async_arrive(ring.full(ring.slot));
    }
    ring.step();
  }
  while (on_their_way-- > 0) {  // none is left behind
    oldest.wait();
    oldest.step();
  }
}

// A worker's place: its set, and which of every nine chunks it has.
struct Worker {
  int set, chunk;
};
CARAT_DEVICE Worker worker() {
  const int warp = warp_index(), set = warp >= kSetWarps ? 1 : 0;
  return {set, warp - set * kSetWarps};
}
// What both workers of a pair wrote is seen by both.
CARAT_DEVICE void pair_barrier(const Worker& w) { team_barrier(kTeamPairs + w.chunk, 64); }

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

// A warp rounds two blocks of a chunk, those from `block` on; a lane has a column of each. kHalves: some product wants the sums
// of 16.
template <bool kHalves>
CARAT_DEVICE void round_two(uint8_t* record, int block, const float* value) {
  const int lane = lane_index();
  uint32_t largest[2];
  CARAT_UNROLL for (int k = 0; k < 2; ++k) largest[k] = warp_max(float_bits(value[k]) & 0x7fffffffu);
  // Even lanes for the first one, odd lanes for the second.
  const uint32_t mine = (lane & 1) != 0 ? largest[1] : largest[0];
  const float magnitude = bits_to_float(mine);
  const bool broken = mine >= 0x7f800000u, zero = !(magnitude > 1e-30f);
  const float inverse = zero || broken ? 0.0f : div_rn(16383.0f, magnitude);
  const float scale = broken ? bits_to_float(0x7fc00000u) : zero ? 0.0f : div_rn(magnitude, 16383.0f);
  uint8_t* planes = record + (lane & 15) / 4 * 32 + (lane >> 4) * 4 + (lane & 3) + block * 8;
  int sums[2][2];
  CARAT_UNROLL for (int k = 0; k < 2; ++k) {
    const int q = round_to_int(value[k] * from_lane(inverse, k));  // 0 where the block is broken
    planes[k * 8] = static_cast<uint8_t>(q >> 7);
    planes[kRecordPlane + k * 8] = static_cast<uint8_t>(q & 127);
    if constexpr (kHalves) {
      int sum = q;
      CARAT_UNROLL for (int width = 8; width > 0; width /= 2) sum += from_lane_xor(sum, width);
      sums[k][0] = from_lane(sum, 0);
      sums[k][1] = from_lane(sum, 16);
    } else {
      sums[k][0] = warp_add(q);
      sums[k][1] = 0;
    }
  }
  if (lane < 2) {
    reinterpret_cast<float*>(record + kRecordScales)[block + lane] = scale;
    auto* to = reinterpret_cast<int32_t*>(record + kRecordSums) + 2 * (block + lane);
    to[0] = lane == 0 ? sums[0][0] : sums[1][0];
    to[1] = lane == 0 ? sums[0][1] : sums[1][1];
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
  float *hidden, *copy, *cosines, *sines, *scratch, *heads;  // copy: the finishers' hidden state
  uint32_t* gated;
  uint64_t* since;  // by the first block's clock

  // The first thread of the first block charges the time since the last call to a stage.
  CARAT_METHOD void stamp(int stage) const {
    if (blockIdx.x != 0 || thread_index() != 0) return;
    const uint64_t now = nanoseconds();
    if (stage >= 0) since[1 + stage] += now - since[0];
    since[0] = now;
  }
  CARAT_METHOD float* factors() const { return scratch + 2 * kRowThreads; }
  CARAT_METHOD const uint8_t* zeros() const { return reinterpret_cast<const uint8_t*>(scratch + 2 * kRowThreads + 8); }

  // hidden += norm(what the product before left), where `words` is not null; then hidden, normed, is x. The finishers' part: a
  // thread has the columns t + 128 k, which is partial sum t of a norm. Returns the factor of the product's results.
  template <int kShape>
  CARAT_METHOD float finish_norms(const DecodeInput& x, const uint64_t* words, int flags, uint32_t epoch, const float* post_norm) const {
    const int D = Sizes<kShape>::width(p), chunks = (D + kTileColumns - 1) / kTileColumns, t = thread_index() - kWorkerThreads;
    const int warp = t / 32;
    float value[kNormed] = {}, post[kNormed];
    const auto column = [&](int first, int k) { return (first + k) * kRowThreads + t; };
    const auto take = [&](int first) {
      CARAT_UNROLL for (int k = 0; k < kNormed; ++k) post[k] = column(first, k) < D ? post_norm[column(first, k)] : 0.0f;
      hear<kNormed>(
          value, epoch, [&](int k) { return column(first, k) < D; }, [&](int k) { return words + column(first, k); });
    };
    float inverse = 0.0f;
    if (words != nullptr) {
      float squares = 0.0f;
      for (int first = 0; first < chunks; first += kNormed) {
        take(first);
        CARAT_UNROLL for (int k = 0; k < kNormed; ++k) {
          if (column(first, k) < D) squares = fma_rn(value[k], value[k], squares);
        }
      }
      scratch[t] = squares;
      for (int first = warp * 32; first < flags; first += kRowThreads) {
        float none[1];
        hear<1>(
            none, epoch, [&](int) { return first + lane_index() < flags; }, [&](int) { return words + D + first + lane_index(); });
      }
      team_barrier(kTeamFinishers, kFinishers * 32);
      inverse = inverse_rms(sum_of_partials(scratch), D, p.epsilon);
      if (t == 0) factors()[0] = inverse;
    }
    team_arrive(kTeamNorm, kComputingThreads);
    float squares = 0.0f;
    for (int first = 0; first < chunks; first += kNormed) {
      if (words != nullptr && chunks > kNormed) take(first);  // they are there
      CARAT_UNROLL for (int k = 0; k < kNormed; ++k) {
        if (column(first, k) >= D) continue;
        float h = copy[column(first, k)];
        if (words != nullptr) {
          h = h + (value[k] * inverse) * post[k];
          copy[column(first, k)] = h;
        }
        squares = fma_rn(h, h, squares);
      }
    }
    scratch[kRowThreads + t] = squares;
    team_barrier(kTeamFinishers, kFinishers * 32);
    const float factor = inverse_rms(sum_of_partials(scratch + kRowThreads), D, p.epsilon);
    if (x.floats) {
      if (t == 0) factors()[1] = factor;
      team_arrive(kTeamFactor, kComputingThreads);
    }
    return factor;
  }

  // The same by the workers: a pair has every ninth chunk, each of its warps two blocks of it.
  template <int kShape, bool kHalves>
  CARAT_METHOD void take_hidden(const DecodeInput& x, const uint64_t* words, uint32_t epoch, const float* post_norm,
                                const float* norm) const {
    const int D = Sizes<kShape>::width(p), lane = lane_index();
    const Worker w = worker();
    float value[2] = {}, post[2] = {}, next[2] = {};
    const auto column = [&](int chunk, int k) { return chunk * kTileColumns + (2 * w.set + k) * 32 + lane; };
    const auto take = [&](int chunk) {
      CARAT_UNROLL for (int k = 0; k < 2; ++k) {
        const bool there = column(chunk, k) < D;
        post[k] = words != nullptr && there ? post_norm[column(chunk, k)] : 0.0f;
        next[k] = there ? norm[column(chunk, k)] : 0.0f;
      }
      if (words == nullptr) return;
      hear<2>(
          value, epoch, [&](int k) { return column(chunk, k) < D; }, [&](int k) { return words + column(chunk, k); });
    };
    take(w.chunk);
    team_barrier(kTeamNorm, kComputingThreads);
    const float inverse = factors()[0];
    CARAT_UNROLL_1 for (int chunk = w.chunk; chunk < x.chunks; chunk += kSetWarps) {
      if (chunk != w.chunk) take(chunk);
      float of_product[2];
      CARAT_UNROLL for (int k = 0; k < 2; ++k) {
        of_product[k] = 0.0f;
        if (column(chunk, k) >= D) continue;
        float h = hidden[column(chunk, k)];
        if (words != nullptr) {
          h = h + (value[k] * inverse) * post[k];
          hidden[column(chunk, k)] = h;
        }
        of_product[k] = h * next[k];
      }
      if (x.integers) round_two<kHalves>(x.records + chunk * kRecordBytes, 2 * w.set, of_product);
    }
    if (!x.floats) return;
    team_barrier(kTeamFactor, kComputingThreads);
    const float factor = factors()[1];
    for (int chunk = w.chunk; chunk < x.chunks; chunk += kSetWarps) {
      CARAT_UNROLL for (int k = 0; k < 2; ++k) {
        const int i = column(chunk, k);
        x.values[i] = i < D ? (hidden[i] * factor) * norm[i] : 0.0f;
      }
    }
  }
};

}  // namespace carat::cuda
