// What the stages of decode_row share: words that blocks tell each other, the ring of weights, a product's input.
#pragma once

#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/device/product.cuh"
#include "backend/cuda/device/rope.cuh"

namespace carat::cuda {

inline constexpr int kNormed = 9;  // columns of a finisher's thread that are normed at once
// Barriers: of all that compute, of the finishers, of attention's teams, of the workers.
inline constexpr int kTeamBegin = 1, kTeamFinishers = 2, kTeamScores = 3, kTeamQuarters = 4, kTeamValues = 5,
                     kTeamReady = 6;

// A thread's place, asked for anew wherever it is used: what would be computed from it before the loop over the layers, for
// every stage, does not fit the registers, and local memory is far away where shared memory takes all of L1.
CARAT_DEVICE int this_thread() { return fresh(thread_index()); }
CARAT_DEVICE int this_lane() { return this_thread() & 31; }
CARAT_DEVICE int this_warp() { return this_thread() >> 5; }

template <class T>
CARAT_DEVICE T* in_shared(int at) {
  return reinterpret_cast<T*>(shared_memory() + at);
}

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

// Of a type that is known only when the kernel runs, tile_format's answer would come from a table in global memory.
CARAT_DEVICE bool are_integers(TileType type) { return type >= TileType::kQ4_0; }

// What the matrices of some types read: 1 integers, 2 floats, 3 both.
constexpr int forms_of(uint32_t types) {
  constexpr uint32_t kIntegers = kAllTypes & ~(type_bit(TileType::kQ4_0) - 1);
  return ((types & kIntegers) != 0 ? 1 : 0) | ((types & ~kIntegers) != 0 ? 2 : 0);
}

CARAT_DEVICE uint64_t word_of(float value, uint32_t epoch) {
  return static_cast<uint64_t>(epoch) << 32 | float_bits(value);
}
CARAT_DEVICE void tell(uint64_t* word, float value, uint32_t epoch) { store_fresh(word, word_of(value, epoch)); }

// A whole warp's: waits for `kCount` words a lane, of which a lane wants those with want(k). What has come is not looked at
// again: all blocks look at the same words, and the memory behind them serves only so many at a time.
template <int kCount, class Want, class Place>
CARAT_DEVICE void hear(float* values, uint32_t epoch, Want want, Place place) {
  uint64_t word[kCount] = {};
  const auto there = [&](int k) { return static_cast<uint32_t>(word[k] >> 32) == epoch; };
  CARAT_UNROLL for (int k = 0; k < kCount; ++k) word[k] = want(k) ? 0 : static_cast<uint64_t>(epoch) << 32;
  bool all;
  do {
    CARAT_UNROLL for (int k = 0; k < kCount; ++k) {
      if (!there(k)) word[k] = load_fresh(place(k));
    }
    all = true;
    CARAT_UNROLL for (int k = 0; k < kCount; ++k) all = all && there(k);
  } while (!warp_all(all));
  CARAT_UNROLL for (int k = 0; k < kCount; ++k) values[k] = bits_to_float(static_cast<uint32_t>(word[k]));
}

// The ring of weights in shared memory: places for pieces, each with an arrival that says that it is there (full) and one that
// says that all of its chunks are done with (empty). Every lane says so for itself: no dearer than one, and whoever checks for
// races sees which reads are over.
struct WeightRing {
  int slots, arrivals, depth, depth_inverse, slot_bytes;
  int slot;
  uint32_t parity;

  CARAT_METHOD uint64_t* full(int at) const { return reinterpret_cast<uint64_t*>(shared_memory() + arrivals) + at; }
  CARAT_METHOD uint64_t* empty(int at) const { return full(at) + kMostPieces; }
  CARAT_METHOD uint8_t* place(int at) const { return shared_memory() + slots + at * slot_bytes; }
  // One thread's.
  CARAT_METHOD void begin() const {
    for (int s = 0; s < depth; ++s) {
      arrival_init(full(s), kBulkCopies ? 1 : 32);
      arrival_init(empty(s), kPieceChunks * 32);
    }
  }
  CARAT_METHOD void step() {
    if (++slot == depth) {
      slot = 0;
      parity ^= 1;
    }
  }
  CARAT_METHOD void wait() const { arrival_wait(full(slot), parity); }
  // The place `pieces` further.
  CARAT_METHOD WeightRing after(int pieces) const {
    WeightRing to = *this;
    const int turns = (slot + pieces) * depth_inverse >> 20;
    to.slot = slot + pieces - turns * depth;
    to.parity = parity ^ static_cast<uint32_t>(turns & 1);
    return to;
  }
};

// Two places for a round's segments, in turns: the workers write one while the finishers read the other.
struct PartPlaces {
  int parts, part_bytes, arrivals;  // where they begin in shared memory; written[2], read[2]
  uint32_t turn;

  CARAT_METHOD uint64_t* arrival(uint32_t at) const { return in_shared<uint64_t>(arrivals) + at; }

  // One thread's.
  CARAT_METHOD void begin() const {
    for (uint32_t s = 0; s < 2; ++s) {
      arrival_init(arrival(s), kWorkerThreads);
      arrival_init(arrival(2 + s), kFinishers * 32);
    }
  }
  CARAT_METHOD int place() const { return parts + static_cast<int>(turn & 1) * part_bytes; }
  // A worker's warp: before it writes, after it has written.
  CARAT_METHOD void before() const {
    if (turn >= 2) arrival_wait(arrival(2 + (turn & 1)), (turn / 2 - 1) & 1);
  }
  CARAT_METHOD void written() {
    arrival_arrive(arrival(turn & 1));
    ++turn;
  }
  // A finisher's warp: before it reads, after it has read.
  CARAT_METHOD void wait() const { arrival_wait(arrival(turn & 1), (turn / 2) & 1); }
  CARAT_METHOD void read() {
    arrival_arrive(arrival(2 + (turn & 1)));
    ++turn;
  }
};

// What the finishers have done, which the workers wait for and they themselves: partial sums of what was heard, those of the row that
// is normed, a layer's heads. They do not wait for the workers, whose parts of the stage before they have read.
struct Round {
  uint64_t* arrival;
  uint32_t parity;

  CARAT_METHOD void wait() const { arrival_wait(arrival, parity); }
  CARAT_METHOD void done() const {  // the finishers'
    arrival_arrive(arrival);
    wait();
  }
};

// The producer's warp: pieces in the order of a list, `at_once` on their way; of the head, which nothing else disturbs, more.
CARAT_DEVICE void bring_weights(const DecodeParams& p, WeightRing ring) {
  const auto block = static_cast<int>(blockIdx.x);
  const uint32_t begun = p.first_piece[block], head = p.head_piece[block];
  const uint32_t end = p.best != nullptr ? p.first_piece[block + 1] : head;
  const int lane = this_lane();
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

// A product's input in shared memory: a record a chunk (params.h), values for floats.
struct DecodeInput {
  int record_at, values_at;
  int columns, chunks, chunks_inverse;
  bool integers, floats;

  CARAT_METHOD void begin(int memory, int in_columns, int forms) {
    columns = in_columns;
    chunks = (columns + kTileColumns - 1) / kTileColumns;
    chunks_inverse = inverse_of(chunks);
    integers = (forms & 1) != 0;
    floats = (forms & 2) != 0;
    values_at = memory;
    record_at = memory + (floats ? chunks * kTileColumns * 4 : 0);
  }
  CARAT_METHOD uint8_t* record(int chunk) const { return shared_memory() + record_at + chunk * kRecordBytes; }
  CARAT_METHOD float* values() const { return in_shared<float>(values_at); }
};

// A warp rounds a chunk: a lane has the columns 4 lane to 4 lane + 3, eight lanes a block. kHalves: some product wants the sums of 16.
template <bool kHalves>
CARAT_DEVICE void round_chunk(uint8_t* record, const float* value) {
  const int lane = this_lane();
  const BlockScale scale = scale_of_block(largest_of_block(value));
  int q[4];
  CARAT_UNROLL for (int i = 0; i < 4; ++i) q[i] =
      round_to_int(value[i] * scale.inverse);  // 0 where the block is broken
  const auto bytes = [&](int at, int shift) {  // byte `at` of each, shifted
    const auto word = [&](int i) { return static_cast<uint32_t>(q[i]) << shift; };
    const uint32_t selector = static_cast<uint32_t>(at | (4 + at) << 4);
    return choose_bytes(choose_bytes(word(0), word(1), selector), choose_bytes(word(2), word(3), selector), 0x5410);
  };
  const int b = lane >> 3, j = lane & 7;
  auto* planes = reinterpret_cast<uint32_t*>(record) + 8 * (j & 3) + 2 * b + (j >> 2);
  planes[0] = bytes(1, 1);
  planes[kRecordPlane / 4] = bytes(0, 0) & 0x7f7f7f7fu;
  int sum = (q[0] + q[1]) + (q[2] + q[3]);
  sum += from_lane_xor(sum, 1);
  sum += from_lane_xor(sum, 2);
  const int other = from_lane_xor(sum, 4);
  if (j == 0) {
    reinterpret_cast<float*>(record + kRecordScales)[b] = scale.scale;
    auto* to = reinterpret_cast<int32_t*>(record + kRecordSums) + 2 * b;
    to[0] = kHalves ? sum : sum + other;
    to[1] = kHalves ? other : 0;
  }
}

struct FourFloats {
  float of[4];
};
CARAT_DEVICE FourFloats floats_at(const float* from) {
  const Words4 v = load<Words4>(from);
  return {{bits_to_float(v.x), bits_to_float(v.y), bits_to_float(v.z), bits_to_float(v.w)}};
}

// Every lane of a warp gets the sum of 128 partial ones, in halves.
CARAT_DEVICE float sum_of_partials(const float* partials) {
  const int lane = this_lane();
  return warp_halves((partials[lane] + partials[lane + 64]) + (partials[lane + 32] + partials[lane + 96]));
}

// A block's view.
struct Decode {
  const DecodeParams& p;

  // Everything is heard but before the first layer: a layer's first norm has the odd rounds, its second the even ones; of the row's
  // sums the other way round.
  CARAT_METHOD Round heard_summed(bool first) const { return round(0, first ? 1 : 0); }
  CARAT_METHOD Round row_summed(bool first) const { return round(1, first ? 0 : 1); }
  CARAT_METHOD Round heads_there(uint32_t epoch) const { return round(2, (epoch - p.epoch) & 1); }
  CARAT_METHOD Round round(int which, uint32_t parity) const {
    return {in_shared<uint64_t>(p.layout.arrivals) + kRoundsAt + which, parity};
  }
  // One thread's.
  CARAT_METHOD void begin_rounds() const {
    for (int i = 0; i < kRounds; ++i) arrival_init(round(i, 0).arrival, kFinishers * 32);
  }

  CARAT_METHOD float* hidden() const { return in_shared<float>(p.layout.hidden); }
  CARAT_METHOD float* copy() const { return in_shared<float>(p.layout.copy); }    // the finishers' hidden state
  CARAT_METHOD float* heard() const { return in_shared<float>(p.layout.heard); }  // what the product before left
  CARAT_METHOD float* cosines() const { return in_shared<float>(p.layout.angles); }
  CARAT_METHOD float* sines() const { return cosines() + p.head_size; }
  CARAT_METHOD float* heads() const { return in_shared<float>(p.layout.heads); }
  // Cycles of the first block: when it was looked at last, of each stage; when it began in cycles, and in nanoseconds.
  CARAT_METHOD uint64_t* since() const { return in_shared<uint64_t>(p.layout.since); }
  CARAT_METHOD float* scratch() const { return in_shared<float>(p.layout.scratch); }
  CARAT_METHOD float* factors() const { return scratch() + 2 * kRowThreads; }
  CARAT_METHOD int zeros() const { return p.layout.scratch + (2 * kRowThreads + 8) * 4; }

  // The first thread of the first block charges the time since the last call to a stage.
  CARAT_METHOD void stamp(int stage) const {
    if (blockIdx.x != 0 || this_thread() != 0) return;
    const uint64_t now = cycles();
    if (stage >= 0) since()[1 + stage] += now - since()[0];
    since()[0] = now;
  }
  CARAT_METHOD void begin_times() const {
    for (int i = 0; i <= kDecodeStages; ++i) since()[i] = 0;
    since()[1 + kDecodeStages] = cycles();
    since()[2 + kDecodeStages] = nanoseconds();
  }
  // What has been charged.
  CARAT_METHOD void tell_times() const {
    if (blockIdx.x != 0 || this_thread() != 0) return;
    const uint64_t all = cycles() - since()[1 + kDecodeStages];
    const double each =
        all == 0 ? 0.0 : static_cast<double>(nanoseconds() - since()[2 + kDecodeStages]) / static_cast<double>(all);
    for (int i = 0; i < kDecodeStages; ++i) {
      p.stage_nanoseconds[i] += static_cast<uint64_t>(static_cast<double>(since()[1 + i]) * each);
      if (p.landing != nullptr) p.landing[1 + i] = p.stage_nanoseconds[i];
    }
  }

  // hidden += norm(what the product before left), where `words` is not null; then hidden, normed, is x. The finishers' part:
  // they hear the words for all. A thread has the columns t + 128 k, which is partial sum t of a norm. Returns the factor of the
  // product's results.
  template <int kShape>
  CARAT_METHOD float finish_norms(const uint64_t* words, int flags, uint32_t epoch, const float* post_norm,
                                  bool first_norm) const {
    const int D = Sizes<kShape>::width(p), chunks = (D + kTileColumns - 1) / kTileColumns,
              t = this_thread() - kWorkerThreads;
    const int warp = t / 32;
    float value[kNormed] = {}, post[kNormed] = {};
    const auto column = [&](int first, int k) { return (first + k) * kRowThreads + t; };
    const auto there = [&](int first, int k) { return kShape == 1 || column(first, k) < D; };
    const auto weights = [&](int first) {
      CARAT_UNROLL for (int k = 0; k < kNormed; ++k) { post[k] = there(first, k) ? post_norm[column(first, k)] : 0.0f; }
    };
    float inverse = 0.0f;
    if (words != nullptr) {
      float squares = 0.0f;
      weights(0);
      for (int first = 0; first < chunks; first += kNormed) {
        hear<kNormed>(
            value, epoch, [&](int k) { return there(first, k); }, [&](int k) { return words + column(first, k); });
        CARAT_UNROLL for (int k = 0; k < kNormed; ++k) {
          if (!there(first, k)) continue;
          heard()[column(first, k)] = value[k];
          squares = fma_rn(value[k], value[k], squares);
        }
      }
      scratch()[t] = squares;
      for (int first = warp * 32; first < flags; first += kRowThreads) {
        float none[1];
        hear<1>(
            none, epoch, [&](int) { return first + this_lane() < flags; },
            [&](int) { return words + D + first + this_lane(); });
      }
      heard_summed(first_norm).done();
      inverse = inverse_rms(sum_of_partials(scratch()), D, p.epsilon);
    }
    float squares = 0.0f;
    for (int first = 0; first < chunks; first += kNormed) {
      if (words != nullptr && chunks > kNormed) weights(first);
      float h[kNormed];
      CARAT_UNROLL for (int k = 0; k < kNormed; ++k) h[k] = there(first, k) ? copy()[column(first, k)] : 0.0f;
      if (words != nullptr) {
        CARAT_UNROLL for (int k = 0; k < kNormed; ++k) {
          if (!there(first, k)) continue;
          h[k] = h[k] + ((chunks > kNormed ? heard()[column(first, k)] : value[k]) * inverse) * post[k];
          copy()[column(first, k)] = h[k];
        }
      }
      CARAT_UNROLL for (int k = 0; k < kNormed; ++k) {
        if (there(first, k)) squares = fma_rn(h[k], h[k], squares);
      }
    }
    scratch()[kRowThreads + t] = squares;
    row_summed(first_norm).done();
    return inverse_rms(sum_of_partials(scratch() + kRowThreads), D, p.epsilon);
  }

  // The same by the workers, each of every kWorkers-th chunk.
  template <int kShape, bool kHalves>
  CARAT_METHOD void take_hidden(const DecodeInput& x, bool heard_any, const float* post_norm, const float* norm,
                                bool first_norm) const {
    const int D = Sizes<kShape>::width(p), begin = this_warp() * kTileColumns + 4 * this_lane(),
              end = x.chunks * kTileColumns, step = kWorkers * kTileColumns;
    FourFloats post{}, next{};
    const auto weights = [&](int i) {
      if (i < D) {
        if (heard_any) post = floats_at(post_norm + i);
        next = floats_at(norm + i);
      } else {
        post = next = {};
      }
    };
    weights(begin);
    float inverse = 0.0f;
    if (heard_any) {
      heard_summed(first_norm).wait();
      inverse = inverse_rms(sum_of_partials(scratch()), D, p.epsilon);
    }
    CARAT_UNROLL_1 for (int i = begin; i < end; i += step) {
      if (i != begin) weights(i);
      FourFloats h{};
      if (i < D) {
        h = floats_at(hidden() + i);
        if (heard_any) {
          const FourFloats value = floats_at(heard() + i);
          CARAT_UNROLL for (int k = 0; k < 4; ++k) h.of[k] = h.of[k] + (value.of[k] * inverse) * post.of[k];
          store_four(hidden() + i, h.of);
        }
      }
      if (x.floats) store_four(x.values() + i, next.of);  // the weight, until the factor is known
      CARAT_UNROLL for (int k = 0; k < 4; ++k) h.of[k] = h.of[k] * next.of[k];
      if (x.integers) round_chunk<kHalves>(x.record(i / kTileColumns), h.of);
    }
    if (!x.floats) return;
    row_summed(first_norm).wait();
    const float factor = inverse_rms(sum_of_partials(scratch() + kRowThreads), D, p.epsilon);
    CARAT_UNROLL_1 for (int i = begin; i < D; i += step) {
      const FourFloats h = floats_at(hidden() + i);
      FourFloats value = floats_at(x.values() + i);
      CARAT_UNROLL for (int k = 0; k < 4; ++k) value.of[k] = (h.of[k] * factor) * value.of[k];
      store_four(x.values() + i, value.of);
    }
  }
};

}  // namespace carat::cuda
