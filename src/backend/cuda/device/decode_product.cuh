// Products of decode_row: a block's segments of a stage, piece by piece from the ring, and what becomes of their sums.
#pragma once

#include "backend/cuda/device/decode.cuh"

namespace carat::cuda {

CARAT_DEVICE Words2 two_words(const uint8_t* p) {  // in one load
  const auto both = load<uint64_t>(p);
  return {static_cast<uint32_t>(both), static_cast<uint32_t>(both >> 32)};
}

// A block's segments of one part of a stage, into part[group * chunks + chunk][8]. A piece of the ring has a pair of groups (the
// last one may be alone), one behind the other, of floats one, and a run of nine chunks. A unit is a chunk of a piece: 16 outputs,
// or 8; a worker has every kWorkers-th, several at a time.
//   Weights of integers are A of an mma: 16 rows, those of both groups; where there is one group only, those of two units. Of B's
// eight columns two are the planes of an activation; four units have two each and zeros elsewhere, so that their sums come side by
// side: lane 4 g + t ends with row g of unit t, of both groups.
struct PartItems {
  WeightRing& ring;
  const DecodeInput& x;
  int groups;
  int part, zeros;  // in shared memory

  // Of units first + kWorkers t that of lane 4 g + t.
  struct Unit {
    WeightRing ring;
    int piece, tile, behind;  // bytes from its first group to the second; 0: none
    int chunk, item;          // the segment of its first group
    int arrivals;             // as which it says that it is done: a piece counts kPieceChunks
  };
  CARAT_METHOD int runs() const { return (x.chunks + kPieceChunks - 1) / kPieceChunks; }
  template <TileType kType>
  CARAT_METHOD Unit unit_of(int number) const {
    constexpr int kBytes = tile_format(kType).tile_bytes(), kInverse = inverse_of(kPieceChunks);
    Unit u{};
    constexpr int kGroups = decode_piece_groups(kType);
    const int set = number * x.chunks_inverse >> 20;
    u.chunk = number - set * x.chunks;
    const int run = u.chunk * kInverse >> 20, in_run = u.chunk - run * kPieceChunks;
    const int of_run = least(kPieceChunks, x.chunks - run * kPieceChunks);
    u.piece = set * runs() + run;
    u.ring = ring.after(u.piece);
    u.tile = ring.slots + u.ring.slot * ring.slot_bytes + in_run * kBytes;
    u.behind = kGroups == 2 && 2 * set + 1 < groups ? of_run * kBytes : 0;
    u.item = kGroups * set * x.chunks + u.chunk;
    u.arrivals = in_run == of_run - 1 ? kPieceChunks + 1 - of_run : 1;
    return u;
  }
  template <TileType kType>
  CARAT_METHOD void run() const {
    constexpr bool kQuantised = tile_format(kType).quantised();
    constexpr int kAtOnce = kQuantised ? kAtOnceUnits : kAtOnceFloats, kGroups = decode_piece_groups(kType);
    const int sets = (groups + kGroups - 1) / kGroups;
    if constexpr (kQuantised) {
      if (sets == 1) {
        few_groups<kType>();
        ring = ring.after(runs());
        return;
      }
      if (decode_own_chunks(kType, sets, x.chunks)) {
        own_chunk<kType>(sets);
        ring = ring.after(sets);
        return;
      }
    }
    const int units = sets * x.chunks, t = this_lane() % kAtOnce;
    CARAT_UNROLL_1 for (int first = this_warp(); first < units;) {
      const int number = first + t * kWorkers;
      const Unit u = unit_of<kType>(number);
      const int oldest = from_lane(u.piece, 0);
      // No more than the ring holds at a time.
      const bool now = number < units && u.piece - oldest < ring.depth;
      const int count = warp_add(this_lane() < kAtOnce && now ? 1 : 0);
      // One after the other, by all lanes: see plan_decode.
      CARAT_UNROLL for (int j = 0; j < kAtOnce; ++j) {
        if (j >= count) break;
        arrival_wait(ring.full(from_lane(u.ring.slot, j)), from_lane(u.ring.parity, j));
      }
      if constexpr (kQuantised) {
        some_units<kType>(u, count);
      } else {
        float_units<kType>(u, count);
      }
      CARAT_UNROLL_1 for (int j = 0; j < count; ++j) {  // done with
        const int slot = from_lane(u.ring.slot, j), arrivals = from_lane(u.arrivals, j);
        CARAT_UNROLL_1 for (int k = 0; k < arrivals; ++k) arrival_arrive(ring.empty(slot));
      }
      first += count * kWorkers;
    }
    ring = ring.after(sets * runs());
  }

  // One or two groups: a lane has a row of a block, as dp4a wants it. Fewer instructions than an mma's, whose fragments, sums and
  // scales are looked for by units.
  template <TileType kType>
  CARAT_METHOD void few_groups() const {
    const auto done = [&](const Unit& u) {
      CARAT_UNROLL_1 for (int k = 0; k < u.arrivals; ++k) arrival_arrive(ring.empty(u.ring.slot));
    };
    if (groups == 2) {
      CARAT_UNROLL_1 for (int chunk = this_warp(); chunk < x.chunks; chunk += kWorkers) {
        const Unit u = unit_of<kType>(chunk);
        u.ring.wait();
        const int tiles[2] = {u.tile, u.tile + u.behind}, items[2] = {chunk, chunk + x.chunks};
        const Planes planes[1] = {planes_of<kType>(chunk)};
        some_tiles<kType, 2, 1>(tiles, planes, items);
        done(u);
      }
      return;
    }
    int chunk = this_warp();
    CARAT_UNROLL_1 for (; chunk + kWorkers < x.chunks; chunk += 2 * kWorkers) {
      const Unit u = unit_of<kType>(chunk), v = unit_of<kType>(chunk + kWorkers);
      u.ring.wait();
      v.ring.wait();
      const int tiles[2] = {u.tile, v.tile}, items[2] = {chunk, chunk + kWorkers};
      const Planes planes[2] = {planes_of<kType>(chunk), planes_of<kType>(chunk + kWorkers)};
      some_tiles<kType, 2, 2>(tiles, planes, items);
      done(u);
      done(v);
    }
    if (chunk >= x.chunks) return;
    const Unit u = unit_of<kType>(chunk);
    u.ring.wait();
    const int tiles[1] = {u.tile}, items[1] = {chunk};
    const Planes planes[1] = {planes_of<kType>(chunk)};
    some_tiles<kType, 1, 1>(tiles, planes, items);
    done(u);
  }
  // What a lane reads of a chunk: its block's planes, sums and scale.
  struct Planes {
    uint32_t high[8], low[8];
    int sums[2];
    float scale;
  };
  template <TileType kType>
  CARAT_METHOD Planes planes_of(int chunk) const {
    Planes p;
    const int b = this_lane() >> 3;
    const uint8_t* record = x.record(chunk);
    CARAT_UNROLL for (int j = 0; j < 4; ++j) {
      const Words2 of_high = two_words(record + j * 32 + b * 8),
                   of_low = two_words(record + kRecordPlane + j * 32 + b * 8);
      p.high[j] = of_high.low, p.high[4 + j] = of_high.high;
      p.low[j] = of_low.low, p.low[4 + j] = of_low.high;
    }
    const Words2 of_16 = two_words(record + kRecordSums + 8 * b);
    p.sums[0] = static_cast<int>(tile_format(kType).subs == 1 ? of_16.low + of_16.high : of_16.low);
    p.sums[1] = static_cast<int>(of_16.high);
    p.scale = load<float>(record + kRecordScales + 4 * b);
    return p;
  }
  // Tiles side by side, each of its chunk or all of one, into part[item][8].
  template <TileType kType, int kTiles, int kChunks>
  CARAT_METHOD void some_tiles(const int* tiles, const Planes* planes, const int* items) const {
    const int lane = this_lane(), b = lane >> 3;
    LaneWeights<kType, true> weights[kTiles];
    CARAT_UNROLL for (int i = 0; i < kTiles; ++i) weights[i].load(shared_memory() + tiles[i], lane);
    int isum[kTiles][2];
    float value[kTiles];
    CARAT_UNROLL for (int i = 0; i < kTiles; ++i) {
      const Planes& p = planes[i % kChunks];
      weights[i].sums_of(p.high, p.low, p.sums, isum[i]);
      value[i] = block_step<kType>(0.0f, isum[i], p.sums, weights[i].scales, p.scale);
    }
    CARAT_UNROLL for (int step = 1; step < kTileBlocks; ++step) {
      CARAT_UNROLL for (int i = 0; i < kTiles; ++i) {
        const Planes& p = planes[i % kChunks];
        const float before = from_lane_below(value[i], 8);
        const float next = block_step<kType>(before, isum[i], p.sums, weights[i].scales, p.scale);
        value[i] = b == step ? next : value[i];
      }
    }
    CARAT_UNROLL for (int i = 0; i < kTiles; ++i) {
      if (b == kTileBlocks - 1) in_shared<float>(part)[items[i] * 8 + (lane & 7)] = value[i];
    }
  }
  // Of some pairs of groups the warp's own chunk (decode_own_chunks), two pairs at a time; a pair or a group that is not there is
  // another one once more.
  template <TileType kType>
  CARAT_METHOD void own_chunk(int sets) const {
    constexpr int kBytes = tile_format(kType).tile_bytes();
    const int chunk = this_warp();
    if (chunk >= x.chunks) return;
    const Planes planes[1] = {planes_of<kType>(chunk)};
    const int arrivals = chunk == x.chunks - 1 ? kPieceChunks + 1 - x.chunks : 1;
    WeightRing at = ring;
    CARAT_UNROLL_1 for (int set = 0; set < sets; set += 2) {
      const bool two = set + 1 < sets;
      WeightRing then = at;
      then.step();
      at.wait();
      if (two) then.wait();
      int tiles[4], items[4];
      CARAT_UNROLL for (int i = 0; i < 4; ++i) {
        const int group = least(2 * set + i, groups - 1), second = (group & 1) * x.chunks;
        tiles[i] = ring.slots + (i < 2 || !two ? at : then).slot * ring.slot_bytes + (second + chunk) * kBytes;
        items[i] = group * x.chunks + chunk;
      }
      some_tiles<kType, 4, 1>(tiles, planes, items);
      CARAT_UNROLL_1 for (int k = 0; k < arrivals; ++k) {
        arrival_arrive(ring.empty(at.slot));
        if (two) arrival_arrive(ring.empty(then.slot));
      }
      at = then;
      at.step();
    }
  }

  // Side by side, or each would wait for its own chain.
  template <TileType kType>
  CARAT_METHOD void float_units(const Unit& u, int count) const {
    const int lane = this_lane();
    Rounded values{};
    values.values = x.values();
    values.chunks = x.chunks;
    float value[kAtOnceFloats];
    CARAT_UNROLL for (int j = 0; j < kAtOnceFloats; ++j) {
      const int from = least(j, count - 1);  // what is not there is multiplied once more, and not kept
      segment_of_rows<kType, 1, true>(shared_memory() + from_lane(u.tile, from), values, from_lane(u.chunk, from), lane,
                                      value + j);
    }
    CARAT_UNROLL for (int j = 0; j < kAtOnceFloats; ++j) {
      const int item = from_lane(u.item, j);
      if (j < count && lane >= 24) in_shared<float>(part)[item * 8 + lane - 24] = value[j];
    }
  }

  template <TileType kType>
  CARAT_METHOD void some_units(const Unit& u, int count) const {
    constexpr TileFormat kFormat = tile_format(kType);
    constexpr int kSubs = kFormat.subs;
    const int lane = this_lane(), g = lane / 4, t = lane % 4;
    const bool alone = groups == 1;  // then two units are the halves of A
    const int record = x.record_at + u.chunk * kRecordBytes;
    const int of_column = from_lane(record, g / 2) + (g & 1) * kRecordPlane + t * 32;
    const int turn = g / 2 >= count ? -1 : alone ? g / 4 : g / 2;  // at which the lane's column is not zeros
    const int lower = alone ? from_lane(u.tile, least(t + 1, count - 1)) : u.tile + u.behind;
    int sums[kSubs][kTileBlocks][4] = {};
    const int step = alone ? 2 : 1;
    CARAT_UNROLL for (int j = 0; j < kAtOnceUnits; ++j) {
      if (j * step >= count) break;
      const uint8_t* planes = shared_memory() + (turn == j ? of_column : zeros);
      const uint8_t *first = shared_memory() + from_lane(u.tile, j * step),
                    *second = shared_memory() + from_lane(lower, j * step);
      const Words4 x0 = load<Words4>(planes), x1 = load<Words4>(planes + 16);
      const uint32_t b[8] = {x0.x, x0.y, x0.z, x0.w, x1.x, x1.y, x1.z, x1.w};
      CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) {
        const Words2 upper = tile_words<kType>(first, k, g, t), lower_words = tile_words<kType>(second, k, g, t);
        if constexpr (kSubs == 1) {
          const uint32_t a[4] = {upper.low, lower_words.low, upper.high, lower_words.high};
          mma_k32(sums[0][k], a, b[2 * k], b[2 * k + 1]);
        } else {
          mma_k16(sums[0][k], upper.low, lower_words.low, b[2 * k]);
          mma_k16(sums[kSubs - 1][k], upper.high, lower_words.high, b[2 * k + 1]);
        }
      }
    }
    if (t >= count) return;
    const bool lower_half = alone && (t & 1) != 0;
    const uint8_t *of_chunk = shared_memory() + record, *tile = shared_memory() + u.tile;
    const Words4 scale_bits = load<Words4>(of_chunk + kRecordScales), s0 = load<Words4>(of_chunk + kRecordSums),
                 s1 = load<Words4>(of_chunk + kRecordSums + 16);
    const float scales[4] = {bits_to_float(scale_bits.x), bits_to_float(scale_bits.y), bits_to_float(scale_bits.z),
                             bits_to_float(scale_bits.w)};
    const uint32_t of_16[8] = {s0.x, s0.y, s0.z, s0.w, s1.x, s1.y, s1.z, s1.w};
    float* to = in_shared<float>(part) + u.item * 8 + g;
    CARAT_UNROLL for (int row = 0; row < 2; ++row) {
      if (row == 1 && u.behind == 0) continue;
      float value = 0.0f;
      CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) {
        const int low = static_cast<int>(of_16[2 * k]), high = static_cast<int>(of_16[2 * k + 1]);
        const int of_block[2] = {kSubs == 1 ? low + high : low, high};
        int isum[2] = {0, 0};
        CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
          const int* s = sums[sub][k];
          const int of_high = row == 1 || lower_half ? s[2] : s[0], of_low = row == 1 || lower_half ? s[3] : s[1];
          isum[sub] = of_high * 128 + of_low - kFormat.offset * of_block[sub];
        }
        value = block_step<kType>(value, isum, of_block, tile_scales<kType>(tile + row * u.behind, k, g), scales[k]);
      }
      to[row * x.chunks * 8] = value;
    }
  }
};

CARAT_OUTLINE WeightRing any_part_items(TileType type, WeightRing ring, DecodeInput x, int groups, int part,
                                        int zeros) {
  for_type(type, PartItems{ring, x, groups, part, zeros});
  return ring;
}
// Those of some types (a bit each) where it is called, of all in a function of their own.
template <uint32_t kTypes, int kType = 0>
CARAT_DEVICE void part_items(TileType type, WeightRing& ring, const DecodeInput& x, int groups, int part, int zeros) {
  if constexpr (kTypes == kAllTypes) {
    ring = any_part_items(type, ring, x, groups, part, zeros);
  } else if constexpr (kTypes >> kType == 1) {  // the last of them
    PartItems{ring, x, groups, part, zeros}.template run<static_cast<TileType>(kType)>();
  } else if constexpr ((kTypes >> kType & 1) == 0) {
    part_items<kTypes, kType + 1>(type, ring, x, groups, part, zeros);
  } else if (type == static_cast<TileType>(kType)) {
    PartItems{ring, x, groups, part, zeros}.template run<static_cast<TileType>(kType)>();
  } else {
    part_items<kTypes, kType + 1>(type, ring, x, groups, part, zeros);
  }
}

// Whether the workers multiply nothing but what they have rounded themselves: of one set of groups a worker has every kWorkers-th
// chunk, as of the input.
CARAT_DEVICE bool works_alone(const DecodePart* parts, int count, const DecodeShares& shares, int chunks) {
  bool alone = true;
  CARAT_UNROLL_1 for (int i = 0; i < count; ++i) {
    const int slots = shares.of[i].slots;
    alone = alone && (are_integers(parts[i].matrix.type)
                          ? slots <= 2 || decode_own_chunks(TileType::kQ4_0, (slots + 1) / 2, chunks)
                          : slots <= 1);
  }
  return alone;
}

// The block's groups of a stage, round by round: by the workers,
template <uint32_t kTypes>
CARAT_DEVICE void multiply_stage(WeightRing& ring, const DecodePart* parts, int count, const DecodeShares& shares,
                                 const DecodeInput& x, PartPlaces& places, int zeros) {
  bool more = true;
  CARAT_UNROLL_1 for (int first = 0; more; first += shares.round) {
    more = false;
    places.before();
    int part = places.place();
    CARAT_UNROLL_1 for (int i = 0; i < count; ++i) {
      const DecodeShare share = shares.of[i];
      const int groups = most(0, least(shares.round, share.slots - first));
      more = more || share.slots > first + shares.round;
      if (groups == 0) continue;
      part_items<kTypes>(parts[i].matrix.type, ring, x, groups, part, zeros);
      part += groups * x.chunks * 32;
    }
    places.written();
  }
}
// by the finishers. Take: ready(part, share, first slot, slots) says what a thread does with a part's outputs, before they are
// there; take(ready, segments[slot][chunk][8]) does it.
template <class Take>
CARAT_DEVICE void finish_stage(int count, const DecodeShares& shares, int chunks, PartPlaces& places, Take& take) {
  const int round = shares.round;
  CARAT_UNROLL_1 for (int first = 0, more = 1; more != 0; first += round) {
    more = 0;
    const auto slots_of = [&](const DecodeShare& share) {
      more |= share.slots > first + round ? 1 : 0;
      return most(0, least(round, share.slots - first));
    };
    DecodeShare share = shares.of[0];
    int now = slots_of(share);
    auto ready = take.ready(0, share, first, now);
    places.wait();
    const float* part = in_shared<float>(places.place());
    CARAT_UNROLL_1 for (int i = 0;;) {
      take(ready, part);
      part += now * chunks * 8;
      if (++i == count) break;
      share = shares.of[i];
      now = slots_of(share);
      ready = take.ready(i, share, first, now);
    }
    places.read();
  }
}

CARAT_DEVICE int finisher_thread() { return this_thread() - kWorkerThreads; }

// kCount outputs, each its segments in order, many loaded at once.
template <int kCount>
CARAT_DEVICE void totals_of(float* totals, const float* const* parts, int chunks) {
  constexpr int kAtOnce = 8;
  CARAT_UNROLL for (int i = 0; i < kCount; ++i) totals[i] = parts[i][0];
  float segment[kCount][kAtOnce];
  const auto load_from = [&](int from) {  // the last one where there is no more
    CARAT_UNROLL for (int c = 0; c < kAtOnce; ++c) {
      CARAT_UNROLL for (int i = 0; i < kCount; ++i) segment[i][c] = parts[i][least(from + c, chunks - 1) * 8];
    }
  };
  int first = 1;
  load_from(first);
  CARAT_UNROLL_1 for (; first + kAtOnce <= chunks; first += kAtOnce) {
    float these[kCount][kAtOnce];
    CARAT_UNROLL for (int c = 0; c < kAtOnce; ++c) {
      CARAT_UNROLL for (int i = 0; i < kCount; ++i) these[i][c] = segment[i][c];
    }
    if (first + kAtOnce < chunks) load_from(first + kAtOnce);  // on their way meanwhile
    CARAT_UNROLL for (int c = 0; c < kAtOnce; ++c) {
      CARAT_UNROLL for (int i = 0; i < kCount; ++i) totals[i] = totals[i] + these[i][c];
    }
  }
  if (first >= chunks) return;
  CARAT_UNROLL for (int c = 0; c < kAtOnce - 1; ++c) {
    CARAT_UNROLL for (int i = 0; i < kCount; ++i) totals[i] =
        first + c < chunks ? totals[i] + segment[i][c] : totals[i];
  }
}

template <uint32_t kTypes>
CARAT_DEVICE float own_factor(const DecodePart& part, float factor) {  // floats were normed before
  if constexpr (forms_of(kTypes) == 1) return factor;
  return are_integers(part.matrix.type) ? factor : 1.0f;
}

// Outputs to whoever waits for them.
template <uint32_t kTypes>
struct TellOutputs {
  const DecodePart* parts;
  uint64_t* words;
  uint32_t epoch;
  int chunks;
  float factor;

  struct Ready {
    const DecodePart* part;
    uint64_t* word;  // of the thread's first output
    float own;
    int group, slots;
    bool mine;
  };
  CARAT_METHOD static uint64_t* place(const DecodePart& part, uint64_t* words, int group, int row) {
    return words + (group * part.group_step + part.group_first) * kTileRows + row;
  }
  CARAT_METHOD Ready ready(int i, const DecodeShare& share, int first, int now) const {
    const DecodePart& part = parts[i];
    const int t = finisher_thread(), group = share.first + first, own_group = group + (t >> 3);
    return {&part,
            place(part, words, own_group, t & 7),
            own_factor<kTypes>(part, factor),
            group,
            now,
            own_group * kTileRows + (t & 7) < part.matrix.rows};
  }
  CARAT_METHOD void operator()(const Ready& r, const float* segments) const {
    uint64_t* word = r.word;
    bool mine = r.mine;
    CARAT_UNROLL_1 for (int t = finisher_thread(); t < r.slots * 8;) {
      const int slot = t >> 3, row = t & 7;
      const float* from[1] = {segments + slot * chunks * 8 + row};
      float total[1];
      totals_of<1>(total, from, chunks);
      if (mine) tell(word, r.own * total[0], epoch);
      t += kFinishers * 32;
      if (t >= r.slots * 8) break;
      const int group = r.group + (t >> 3);
      word = place(*r.part, words, group, t & 7);
      mine = group * kTileRows + (t & 7) < r.part->matrix.rows;
    }
  }
};

// gelu(gate) * up; for integers of 32 neighbours, rounded to a block by the warp that has them. Gate and up come as one part, in
// turns of groups, or as two.
template <uint32_t kTypes>
struct TellGated {
  const Decode& d;
  const DecodeLayer& layer;
  uint32_t epoch;
  int chunks;
  float factor;

  struct Ready {
    int sets,
        block;  // of 32 outputs: how many, the first one's place; of floats: groups of gate, the first output's place
    int ups, step;  // segments' groups from gate to up, from a group to the next of its kind
    float own, own_up;
  };
  CARAT_METHOD bool integers() const {
    return ((forms_of(kTypes) != 3 ? forms_of(kTypes) : layer.rounded[2]) & 1) != 0;
  }
  CARAT_METHOD Ready ready(int i, const DecodeShare& share, int first, int now) const {
    if (i != 0) return {};                                                                         // up: with gate
    const int parts = layer.gate_up_parts, step = parts == 1 ? 2 : 1, shift = parts == 1 ? 3 : 2;  // decode_gated_unit
    const bool whole = integers();
    return {whole ? now >> shift : now / step,
            whole ? (share.first + first) >> shift : (share.first + first) / step * kTileRows,
            parts == 1 ? 1 : now,
            step,
            own_factor<kTypes>(layer.gate_up[0], factor),
            own_factor<kTypes>(layer.gate_up[parts - 1], factor)};
  }
  CARAT_METHOD float gated(const Ready& r, const float* gates) const {
    const float* from[2] = {gates, gates + r.ups * (chunks * 8)};
    float total[2];
    totals_of<2>(total, from, chunks);
    return gelu(r.own * total[0]) * (r.own_up * total[1]);
  }
  CARAT_METHOD void operator()(const Ready& r, const float* segments) const {
    const int lane = this_lane(), row = lane % 8, stride = chunks * 8, warp = this_warp() - kWorkers;
    if (!integers()) {
      for (int t = finisher_thread(); t < r.sets * kTileRows; t += kFinishers * 32) {
        const float value = gated(r, segments + t / 8 * r.step * stride + row);
        tell(d.p.gated_values + r.block + t, value, epoch);
      }
      return;
    }
    const int rounded = forms_of(kTypes) != 3 ? forms_of(kTypes) : layer.rounded[2];
    CARAT_UNROLL_1 for (int set = warp; set < r.sets; set += kFinishers) {
      const float value = gated(r, segments + (set * 4 + lane / 8) * r.step * stride + row);
      const int block = r.block + set;
      uint32_t* words = in_shared<uint32_t>(d.p.layout.gated) + warp * 32;
      Rounded out{};
      out.planes = reinterpret_cast<uint8_t*>(words);
      out.scales = reinterpret_cast<float*>(words + 16);
      out.sums = reinterpret_cast<int32_t*>(words + 17);
      round_block(out, 0, 0, value);
      warp_barrier();
      if (lane < 7) {
        const Words4 three{words[3 * lane], words[3 * lane + 1], words[3 * lane + 2], epoch};
        store_fresh(static_cast<Words4*>(d.p.gated) + block * 7 + lane, three);
      }
      warp_barrier();
      if ((rounded & 2) != 0) tell(d.p.gated_values + block * 32 + lane, value, epoch);
    }
  }
};

// Logits, and the best of those that a thread has seen.
struct TakeLogits {
  const DecodeParams& p;
  int chunks;
  float factor;
  uint64_t best;

  struct Ready {
    int first, slots;
  };
  CARAT_METHOD static Ready ready(int, const DecodeShare& share, int first, int now) {
    return {share.first + first, now};
  }
  CARAT_METHOD void operator()(const Ready& r, const float* segments) {
    for (int t = finisher_thread(); t < r.slots * 8; t += kFinishers * 32) {
      const int id = r.first * kTileRows + t;
      if (id >= p.vocabulary) continue;
      const float* from[1] = {segments + (t >> 3) * chunks * 8 + (t & 7)};
      float total[1];
      totals_of<1>(total, from, chunks);
      const float logit = factor * total[0];
      if (p.logits != nullptr) p.logits[id] = logit;
      const uint64_t key = order_of_logit(logit, id);
      best = key > best ? key : best;
    }
  }
};

// What gate_up left, as the input of down.
CARAT_DEVICE void take_gated(const DecodeParams& p, const DecodeInput& x, uint32_t epoch) {
  const int lane = this_lane(), filled = p.ffn_width / 32;
  const int begin = this_warp();
  constexpr int kAtOnce = 5;
  if (x.integers) {
    // Seven lanes a block, each with three of its 19 words; where they go is the same in every chunk.
    const auto* words = static_cast<const Words4*>(p.gated);
    const int b = lane / 7, piece = lane % 7;
    int to[3];
    CARAT_UNROLL for (int j = 0; j < 3; ++j) {
      const int word = 3 * piece + j;
      to[j] = word < 16    ? word / 8 * kRecordPlane + word % 4 * 32 + b * 8 + word % 8 / 4 * 4
              : word == 16 ? kRecordScales + 4 * b
                           : kRecordSums + 8 * b + 4 * (word - 17);
    }
    const int count = lane >= 28 ? 0 : piece < 6 ? 3 : 1;
    CARAT_UNROLL_1 for (int first = begin; first < x.chunks; first += kAtOnce * kWorkers) {
      Words4 v[kAtOnce];
      const auto block = [&](int k) { return (first + k * kWorkers) * kTileBlocks + b; };
      CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) { v[k] = {0, 0, 0, lane >= 28 || block(k) >= filled ? epoch : 0}; }
      bool all;
      do {
        CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
          if (v[k].w != epoch) v[k] = load_fresh(words + block(k) * 7 + piece);
        }
        all = true;
        CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) all = all && v[k].w == epoch;
      } while (!warp_all(all));
      CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
        if (first + k * kWorkers >= x.chunks) continue;
        uint8_t* record = x.record(first + k * kWorkers);
        const uint32_t three[3] = {v[k].x, v[k].y, v[k].z};  // zeros where there is no such block
        CARAT_UNROLL for (int j = 0; j < 3; ++j) {
          if (j < count) *reinterpret_cast<uint32_t*>(record + to[j]) = three[j];
        }
      }
    }
  }
  if (x.floats) {
    CARAT_UNROLL_1 for (int chunk = begin; chunk < x.chunks; chunk += kWorkers) {
      float value[kTileBlocks] = {};
      const auto column = [&](int k) { return chunk * kTileColumns + k * 32 + lane; };
      hear<kTileBlocks>(
          value, epoch, [&](int k) { return column(k) < p.ffn_width; },
          [&](int k) { return p.gated_values + column(k); });
      CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) x.values()[column(k)] = value[k];
    }
  }
}

}  // namespace carat::cuda
