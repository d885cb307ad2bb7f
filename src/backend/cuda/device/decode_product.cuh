// Products of decode_row: a block's segments of a stage, piece by piece from the ring, and what becomes of their sums.
#pragma once

#include "backend/cuda/device/decode.cuh"

namespace carat::cuda {

// A block's segments of one part of a stage, into part[group * chunks + chunk][8]. A unit is a piece of the ring: a pair of
// groups (the last one may be alone), one behind the other, of floats one, and a run of nine chunks, one for each worker.
//   Weights of integers are A of an mma: 16 rows, those of both groups. Of B's eight columns two are the planes of an activation; a
// worker's four units have two each and zeros elsewhere, so that their sums come side by side: lane 4 g + t ends with row g of
// both groups of unit t.
struct PartItems {
  WeightRing& ring;
  const DecodeInput& x;
  int groups;
  int part, zeros;  // in shared memory

  // Where the next unit is.
  struct Place {
    WeightRing ring;
    int unit, pair, run;  // pair: of floats a group
  };
  CARAT_METHOD int runs() const { return (x.chunks + kWorkers - 1) / kWorkers; }
  CARAT_METHOD void pass(Place& at, int runs) const {
    at.ring.step();
    ++at.unit;
    if (++at.run == runs) {
      at.run = 0;
      ++at.pair;
    }
  }

  template <TileType kType>
  CARAT_METHOD void run() const {
    constexpr int kGroups = decode_piece_groups(kType);
    const int units = (groups + kGroups - 1) / kGroups * runs();
    Place at{ring, 0, 0, 0};
    if constexpr (tile_format(kType).quantised()) {
      CARAT_UNROLL_1 while (at.unit < units) some_units<kType>(at, units);
    } else {
      CARAT_UNROLL_1 while (at.unit < units) float_units<kType>(at, units);
    }
    ring = at.ring;
  }

  // Pieces side by side, or each would wait for its own chain.
  template <TileType kType>
  CARAT_METHOD void float_units(Place& at, int units) const {
    constexpr int kBytes = tile_format(kType).tile_bytes();
    const int warp = this_warp(), lane = this_lane();
    const uint8_t* tile[kAtOnceFloats];
    int chunk[kAtOnceFloats], item[kAtOnceFloats], slot = 0, count = 0;
    CARAT_UNROLL for (int j = 0; j < kAtOnceFloats; ++j) {
      const bool there = at.unit < units && j < at.ring.depth;
      tile[j] = tile[0];  // what is not there is multiplied once more, and not kept
      chunk[j] = chunk[0];
      item[j] = -1;
      if (!there) continue;
      const int own = at.run * kWorkers + warp;
      tile[j] = at.ring.wait() + warp * kBytes;
      chunk[j] = least(own, x.chunks - 1);
      if (own < x.chunks) item[j] = at.pair * x.chunks + own;
      if (lane == j) slot = at.ring.slot;
      ++count;
      pass(at, runs());
    }
    float value[kAtOnceFloats];
    Rounded values{};
    values.values = x.values();
    values.chunks = x.chunks;
    CARAT_UNROLL for (int j = 0; j < kAtOnceFloats; ++j) {
      segment_of_rows<kType, 1, true>(tile[j], values, chunk[j], lane, value + j);
    }
    CARAT_UNROLL for (int j = 0; j < kAtOnceFloats; ++j) {
      if (item[j] >= 0 && lane >= 24) in_shared<float>(part)[item[j] * 8 + lane - 24] = value[j];
    }
    warp_barrier();
    if (lane < count) arrival_arrive(at.ring.empty(slot));
  }

  template <TileType kType>
  CARAT_METHOD void some_units(Place& at, int units) const {
    constexpr TileFormat kFormat = tile_format(kType);
    constexpr int kBytes = kFormat.tile_bytes(), kSubs = kFormat.subs;
    const int lane = this_lane(), warp = this_warp(), g = lane / 4, t = lane % 4, chunks = x.chunks;
    int sums[kSubs][kTileBlocks][4] = {};
    // Of unit t, which this lane ends with.
    const uint8_t *tile = nullptr, *record = nullptr;
    int behind = 0, item = 0, slot = 0, count = 0;
    bool here = false, two = false;
    CARAT_UNROLL for (int j = 0; j < kAtOnceUnits; ++j) {
      if (at.unit >= units || j >= at.ring.depth) break;
      const int chunk = at.run * kWorkers + warp;
      const bool mine = t == j, inside = chunk < chunks, whole = 2 * at.pair + 1 < groups;
      const uint8_t* place =
          at.ring.wait();  // also where a warp has no chunk of the run: it says that it is done with the piece
      if (mine) {
        slot = at.ring.slot;
        here = inside;
        two = whole;
        item = 2 * at.pair * chunks + chunk;
      }
      if (inside) {
        const uint8_t* of_chunk = x.record(chunk);
        const uint8_t* planes = g / 2 == j ? of_chunk + (g & 1) * kRecordPlane + t * 32 : shared_memory() + zeros;
        const Words4 x0 = load<Words4>(planes), x1 = load<Words4>(planes + 16);
        const uint32_t b[8] = {x0.x, x0.y, x0.z, x0.w, x1.x, x1.y, x1.z, x1.w};
        const uint8_t* first = place + warp * kBytes;
        const int second = whole ? least(kWorkers, chunks - at.run * kWorkers) * kBytes : 0;
        if (mine) {
          tile = first;
          behind = second;
          record = of_chunk;
        }
        CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) {
          const Words2 upper = tile_words<kType>(first, k, g, t), lower = tile_words<kType>(first + second, k, g, t);
          if constexpr (kSubs == 1) {
            const uint32_t a[4] = {upper.low, lower.low, upper.high, lower.high};
            mma_k32(sums[0][k], a, b[2 * k], b[2 * k + 1]);
          } else {
            mma_k16(sums[0][k], upper.low, lower.low, b[2 * k]);
            mma_k16(sums[kSubs - 1][k], upper.high, lower.high, b[2 * k + 1]);
          }
        }
      }
      ++count;
      pass(at, runs());
    }
    if (here) {
      const auto* scales = reinterpret_cast<const float*>(record + kRecordScales);
      const auto* of_16 = reinterpret_cast<const int32_t*>(record + kRecordSums);
      float value[2] = {0.0f, 0.0f};
      CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) {
        const int of_block[2] = {kSubs == 1 ? of_16[2 * k] + of_16[2 * k + 1] : of_16[2 * k], of_16[2 * k + 1]};
        CARAT_UNROLL for (int row = 0; row < 2; ++row) {
          int isum[2] = {0, 0};
          CARAT_UNROLL for (int sub = 0; sub < kSubs; ++sub) {
            isum[sub] = sums[sub][k][2 * row] * 128 + sums[sub][k][2 * row + 1] - kFormat.offset * of_block[sub];
          }
          value[row] =
              block_step<kType>(value[row], isum, of_block, tile_scales<kType>(tile + row * behind, k, g), scales[k]);
        }
      }
      in_shared<float>(part)[item * 8 + g] = value[0];
      if (two) in_shared<float>(part)[(item + chunks) * 8 + g] = value[1];
    }
    warp_barrier();
    if (lane < count) arrival_arrive(at.ring.empty(slot));
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
// by the finishers, who call take(i, share, first slot, slots, segments[slot][chunk][8]) for each part.
template <class Take>
CARAT_DEVICE void finish_stage(int count, const DecodeShares& shares, int chunks, PartPlaces& places, Take take) {
  bool more = true;
  CARAT_UNROLL_1 for (int first = 0; more; first += shares.round) {
    more = false;
    places.wait();
    const float* part = in_shared<float>(places.place());
    CARAT_UNROLL_1 for (int i = 0; i < count; ++i) {
      const DecodeShare share = shares.of[i];
      const int now = most(0, least(shares.round, share.slots - first));
      more = more || share.slots > first + shares.round;
      if (now == 0) continue;
      take(i, share, first, now, part);
      part += now * chunks * 8;
    }
    places.read();
  }
}

CARAT_DEVICE int finisher_thread() { return this_thread() - kWorkerThreads; }

// One output of a group: its segments in order, loaded nine at a time.
CARAT_DEVICE float total_of(const float* part, int chunks) {
  float total = part[0];
  CARAT_UNROLL_1 for (int first = 1; first < chunks; first += kWorkers) {
    float segment[kWorkers];
    CARAT_UNROLL for (int c = 0; c < kWorkers; ++c) segment[c] = first + c < chunks ? part[(first + c) * 8] : 0.0f;
    CARAT_UNROLL for (int c = 0; c < kWorkers; ++c) total = first + c < chunks ? total + segment[c] : total;
  }
  return total;
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
  CARAT_METHOD void operator()(int i, const DecodeShare& share, int first, int now, const float* segments) const {
    const DecodePart& part = parts[i];
    const float own = own_factor<kTypes>(part, factor);
    for (int t = finisher_thread(); t < now * 8; t += kFinishers * 32) {
      const int group = share.first + first + t / 8;
      const float total = own * total_of(segments + t / 8 * chunks * 8 + t % 8, chunks);
      if (group * kTileRows + t % 8 < part.matrix.rows) {
        tell(words + (group * part.group_step + part.group_first) * kTileRows + t % 8, total, epoch);
      }
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

  CARAT_METHOD void operator()(int i, const DecodeShare& share, int first, int now, const float* segments) const {
    if (i != 0) return;  // up: with gate
    const int lane = this_lane(), row = lane % 8, stride = chunks * 8, parts = layer.gate_up_parts;
    const float own = own_factor<kTypes>(layer.gate_up[0], factor),
                own_up = own_factor<kTypes>(layer.gate_up[parts - 1], factor);
    const int step = parts == 1 ? 2 : 1;  // groups from one of gate to the next
    const int rounded = forms_of(kTypes) != 3 ? forms_of(kTypes) : layer.rounded[2];
    const float* ups = parts == 1 ? segments + stride : segments + now * stride;
    if ((rounded & 1) == 0) {
      for (int t = finisher_thread(); t < now / step * 8; t += kFinishers * 32) {
        const int at = t / 8 * step * stride + row;
        const float gate = own * total_of(segments + at, chunks), up = own_up * total_of(ups + at, chunks);
        tell(d.p.gated_values + (share.first + first) / step * 8 + t, gelu(gate) * up, epoch);
      }
      return;
    }
    const int shift = parts == 1 ? 3 : 2, unit = 1 << shift;  // decode_gated_unit
    const int warp = this_warp() - kWorkers;
    for (int set = warp; set < now >> shift; set += kFinishers) {
      const int at = (set * unit + lane / 8 * step) * stride + row;
      const float gate = own * total_of(segments + at, chunks), up = own_up * total_of(ups + at, chunks);
      const float value = gelu(gate) * up;
      const int block = ((share.first + first) >> shift) + set;
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
  uint64_t* best;
  CARAT_METHOD void operator()(int, const DecodeShare& share, int first, int now, const float* segments) const {
    for (int t = finisher_thread(); t < now * 8; t += kFinishers * 32) {
      const int id = (share.first + first) * kTileRows + t;
      if (id >= p.vocabulary) continue;
      const float logit = factor * total_of(segments + t / 8 * chunks * 8 + t % 8, chunks);
      if (p.logits != nullptr) p.logits[id] = logit;
      const uint64_t key = order_of_logit(logit, id);
      *best = key > *best ? key : *best;
    }
  }
};

// What gate_up left, as the input of down. A worker brings the chunks that it multiplies.
CARAT_DEVICE void take_gated(const DecodeParams& p, const DecodeInput& x, uint32_t epoch) {
  const int lane = this_lane(), filled = p.ffn_width / 32;
  const int begin = this_warp();
  constexpr int kAtOnce = 6;
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
      Words4 v[kAtOnce] = {};
      const auto block = [&](int k) { return (first + k * kWorkers) * kTileBlocks + b; };
      bool all;
      do {
        all = true;
        CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
          if (lane >= 28 || block(k) >= filled) continue;
          v[k] = load_fresh(words + block(k) * 7 + piece);
          all = all && v[k].w == epoch;
        }
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
