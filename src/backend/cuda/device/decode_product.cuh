// Products of decode_row: a block's segments of a stage, tile by tile from the ring, and what becomes of their sums.
#pragma once

#include "backend/cuda/device/decode.cuh"

namespace carat::cuda {

// What a lane (block b, row r of a tile) multiplies its 32 weights with; it stays in registers as long as the chunk does.
template <TileType kType>
struct LaneInput {
  uint32_t high[8], low[8];
  float scale;
  int sums[2], start;

  CARAT_METHOD void load_of(const uint8_t* record, int lane) {
    constexpr TileFormat kFormat = tile_format(kType);
    const int b = lane >> 3;
    const auto* planes = reinterpret_cast<const Words4*>(record + b * 64);
    const Words4 v[4] = {planes[0], planes[1], planes[2], planes[3]};
    CARAT_UNROLL for (int i = 0; i < 2; ++i) {
      high[4 * i] = v[i].x, high[4 * i + 1] = v[i].y, high[4 * i + 2] = v[i].z, high[4 * i + 3] = v[i].w;
      low[4 * i] = v[2 + i].x, low[4 * i + 1] = v[2 + i].y, low[4 * i + 2] = v[2 + i].z, low[4 * i + 3] = v[2 + i].w;
    }
    scale = reinterpret_cast<const float*>(record + kRecordScales)[b];
    const auto* of_16 = reinterpret_cast<const int32_t*>(record + kRecordSums) + 2 * b;
    sums[0] = kFormat.subs == 1 ? of_16[0] + of_16[1] : of_16[0];
    sums[1] = kFormat.subs == 1 ? 0 : of_16[1];
    start = -kFormat.offset * sums[0];
  }
};

// A warp's segment of a tile in shared memory: lanes 24..31 end with that of row lane - 24.
template <TileType kType>
CARAT_DEVICE float segment_of_lanes(const uint8_t* tile, const LaneInput<kType>& x, int lane) {
  constexpr TileFormat kFormat = tile_format(kType);
  LaneWeights<kType, true> w;
  w.load(tile, lane);
  constexpr int kSecond = kFormat.subs - 1;
  int of_high[2][2] = {}, of_low[2][2] = {};
  of_low[0][0] = x.start;
  if constexpr (kFormat.subs == 2) of_low[1][1] = -kFormat.offset * x.sums[1];
  CARAT_UNROLL for (int j = 0; j < 4; ++j) {
    of_high[0][0] = dot4(w.words[j].low, x.high[j], of_high[0][0]);
    of_low[0][0] = dot4(w.words[j].low, x.low[j], of_low[0][0]);
    of_high[kSecond][1] = dot4(w.words[j].high, x.high[4 + j], of_high[kSecond][1]);
    of_low[kSecond][1] = dot4(w.words[j].high, x.low[4 + j], of_low[kSecond][1]);
  }
  int isum[2];
  isum[0] = (of_high[0][0] + of_high[0][1]) * 128 + (of_low[0][0] + of_low[0][1]);
  isum[1] = of_high[1][1] * 128 + of_low[1][1];
  // The blocks' chain goes from lane to lane; what lanes compute out of turn is overwritten before anybody reads it.
  float value = block_step<kType>(0.0f, isum, x.sums, w.scales, x.scale);
  CARAT_UNROLL for (int step = 1; step < kTileBlocks; ++step) {
    value = block_step<kType>(from_lane_below(value, 8), isum, x.sums, w.scales, x.scale);
  }
  return value;
}

// A block's segments of one part of a stage, into part[item][8], item = slot * chunks + chunk; a warp has every ninth. `own`: a
// warp's chunks are those that it wrote itself.
struct PartItems {
  WeightRing& ring;
  const DecodeInput& x;
  int count;
  float* part;

  template <TileType kType>
  CARAT_METHOD void run() const {
    constexpr TileFormat kFormat = tile_format(kType);
    const int warp = warp_index(), lane = lane_index(), chunks = x.chunks;
    const auto within = [&](int of) {  // of % chunks, which is seldom far
      while (of >= chunks) of -= chunks;
      return of;
    };
    const int offset = warp * kFormat.tile_bytes(), advance = within(kWorkers);
    const int pieces = (count + kPieceTiles - 1) / kPieceTiles;
    WeightRing mine = ring;
    int chunk = within(warp), item = warp;
    const auto after = [&](int of) { return of + advance >= chunks ? of + advance - chunks : of + advance; };
    const auto keep = [&](float value, int at) {
      if (lane >= 24) part[at * 8 + lane - 24] = value;
    };
    if constexpr (kFormat.quantised()) {
      LaneInput<kType> now, later;
      now.load_of(x.records + chunk * kRecordBytes, lane);
      int piece = 0;
      CARAT_UNROLL_1 for (; piece + 1 < pieces; piece += 2) {  // two at a time: neither waits for its own
        const int chunk1 = after(chunk);
        later = now;
        if (advance != 0) later.load_of(x.records + chunk1 * kRecordBytes, lane);
        const int slot0 = mine.slot;
        const uint8_t* tile0 = mine.wait() + offset;
        mine.step();
        const int slot1 = mine.slot;
        const uint8_t* tile1 = mine.wait() + offset;
        mine.step();
        if (item + kWorkers < count) {
          const float value0 = segment_of_lanes<kType>(tile0, now, lane), value1 = segment_of_lanes<kType>(tile1, later, lane);
          keep(value0, item);
          keep(value1, item + kWorkers);
        } else {
          keep(segment_of_lanes<kType>(tile0, now, lane), item);
        }
        warp_barrier();
        mine.done(slot0);
        mine.done(slot1);
        item += 2 * kWorkers;
        chunk = after(chunk1);
        if (advance != 0) now.load_of(x.records + chunk * kRecordBytes, lane);
      }
      if (piece < pieces) {
        const int slot0 = mine.slot;
        const uint8_t* tile = mine.wait() + offset;
        mine.step();
        if (item < count) keep(segment_of_lanes<kType>(tile, now, lane), item);
        warp_barrier();
        mine.done(slot0);
      }
    } else {
      Rounded values{};
      values.values = x.values;
      values.chunks = chunks;
      CARAT_UNROLL_1 for (int piece = 0; piece < pieces; ++piece) {
        const int slot0 = mine.slot;
        const uint8_t* tile = mine.wait() + offset;
        mine.step();
        if (item < count) {
          float value[1];
          segment_of_rows<kType, 1, true>(tile, values, chunk, lane, value);
          keep(value[0], item);
        }
        warp_barrier();
        mine.done(slot0);
        item += kWorkers;
        chunk = after(chunk);
      }
    }
    ring = mine;
  }
};

CARAT_OUTLINE WeightRing any_part_items(TileType type, WeightRing ring, DecodeInput x, int count, float* part) {
  for_type(type, PartItems{ring, x, count, part});
  return ring;
}
// kOne: the type of all matrices, or kTileTypes.
template <int kOne>
CARAT_DEVICE void part_items(TileType type, WeightRing& ring, const DecodeInput& x, int count, float* part) {
  if constexpr (kOne < kTileTypes) {
    PartItems{ring, x, count, part}.template run<static_cast<TileType>(kOne)>();
  } else {
    ring = any_part_items(type, ring, x, count, part);
  }
}

// The block's groups of a stage. take(i, share, first slot, slots, segments[slot][chunk][8]) is called for each part by the first
// `takers` warps when its segments are there; the others go on.
template <int kOne, class Take>
CARAT_DEVICE void stage_product(WeightRing& ring, const DecodePart* parts, int count, const DecodeShares& shares, const DecodeInput& x,
                                float* part, int takers, Take take) {
  bool more = true;
  CARAT_UNROLL_1 for (int first = 0; more; first += shares.round) {
    more = false;
    int base = 0;
    CARAT_UNROLL_1 for (int i = 0; i < count; ++i) {
      const DecodeShare share = shares.of[i];
      const int items = most(0, least(shares.round, share.slots - first)) * x.chunks;
      more = more || share.slots > first + shares.round;
      part_items<kOne>(parts[i].matrix.type, ring, x, items, part + base * 8);
      base += items;
    }
    if (warp_index() >= takers && !more) {
      team_arrive(kTeamTotals, kWorkerThreads);
      continue;
    }
    team_barrier(kTeamTotals, kWorkerThreads);
    base = 0;
    if (warp_index() < takers) {
      CARAT_UNROLL_1 for (int i = 0; i < count; ++i) {
        const DecodeShare share = shares.of[i];
        const int now = most(0, least(shares.round, share.slots - first));
        take(i, share, first, now, part + base * 8);
        base += now * x.chunks;
      }
    }
    if (more) team_barrier(kTeamTotals, kWorkerThreads);
  }
}

// One output of a group: its segments in order.
CARAT_DEVICE float total_of(const float* part, int chunks) {
  float total = part[0];
  CARAT_UNROLL_8 for (int c = 1; c < chunks; ++c) total = total + part[c * 8];
  return total;
}

CARAT_DEVICE float own_factor(const DecodePart& part, float factor) {  // floats were normed before
  return tile_format(part.matrix.type).quantised() ? factor : 1.0f;
}

// Outputs to whoever waits for them.
struct TellOutputs {
  const DecodePart* parts;
  uint64_t* words;
  uint32_t epoch;
  int chunks, threads;
  float factor;
  CARAT_METHOD void operator()(int i, const DecodeShare& share, int first, int now, const float* segments) const {
    const DecodePart& part = parts[i];
    const float own = own_factor(part, factor);
    for (int t = thread_index(); t < now * 8; t += threads) {
      const int group = share.first + first + t / 8;
      const float total = own * total_of(segments + t / 8 * chunks * 8 + t % 8, chunks);
      if (group * kTileRows + t % 8 < part.matrix.rows) {
        tell(words + (group * part.group_step + part.group_first) * kTileRows + t % 8, total, epoch);
      }
    }
  }
};

// gelu(gate) * up of 32 neighbours, rounded to a block by the warp that has them. Gate and up come as one part, in turns of
// groups, or as two.
struct TellGated {
  const Decode& d;
  const DecodeLayer& layer;
  uint32_t epoch;
  int chunks, warps;
  float factor;

  CARAT_METHOD void operator()(int i, const DecodeShare& share, int first, int now, const float* segments) const {
    if (i != 0) return;  // up: with gate
    const int lane = lane_index(), row = lane % 8, stride = chunks * 8, parts = layer.gate_up_parts;
    const float own = own_factor(layer.gate_up[0], factor), own_up = own_factor(layer.gate_up[parts - 1], factor);
    const int shift = parts == 1 ? 3 : 2, unit = 1 << shift, rounded = layer.rounded[2];  // decode_gated_unit
    const float* ups = parts == 1 ? segments + stride : segments + now * stride;
    const int step = parts == 1 ? 2 : 1;
    for (int set = warp_index(); set < now >> shift; set += warps) {
      const int at = (set * unit + lane / 8 * step) * stride + row;
      const float gate = own * total_of(segments + at, chunks), up = own_up * total_of(ups + at, chunks);
      const float value = gelu(gate) * up;
      const int block = ((share.first + first) >> shift) + set;
      if ((rounded & 1) != 0) {
        uint32_t* words = d.gated + warp_index() * 32;
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
      }
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
    for (int t = thread_index(); t < now * 8; t += kWorkerThreads) {
      const int id = (share.first + first) * kTileRows + t;
      if (id >= p.vocabulary) continue;
      const float logit = factor * total_of(segments + t / 8 * chunks * 8 + t % 8, chunks);
      if (p.logits != nullptr) p.logits[id] = logit;
      const uint64_t key = order_of_logit(logit, id);
      *best = key > *best ? key : *best;
    }
  }
};

// What gate_up left, as the input of down. A warp brings every ninth chunk: those that it multiplies where their number is a
// multiple of nine.
CARAT_DEVICE void take_gated(const DecodeParams& p, const DecodeInput& x, uint32_t epoch) {
  const int lane = lane_index(), warp = warp_index(), filled = p.ffn_width / 32;
  constexpr int kAtOnce = 6;
  if (x.integers) {
    // Seven lanes a block, each with three of its 19 words; where they go is the same in every chunk.
    const auto* words = static_cast<const Words4*>(p.gated);
    const int b = lane / 7, piece = lane % 7;
    int to[3];
    CARAT_UNROLL for (int j = 0; j < 3; ++j) {
      const int word = 3 * piece + j;
      to[j] = word < 16 ? b * 64 + word * 4 : word == 16 ? kRecordScales + 4 * b : kRecordSums + 8 * b + 4 * (word - 17);
    }
    const int count = lane >= 28 ? 0 : piece < 6 ? 3 : 1;
    CARAT_UNROLL_1 for (int first = warp; first < x.chunks; first += kAtOnce * kWorkers) {
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
        uint8_t* record = x.records + (first + k * kWorkers) * kRecordBytes;
        const uint32_t three[3] = {v[k].x, v[k].y, v[k].z};  // zeros where there is no such block
        CARAT_UNROLL for (int j = 0; j < 3; ++j) {
          if (j < count) *reinterpret_cast<uint32_t*>(record + to[j]) = three[j];
        }
      }
    }
  }
  if (x.floats) {
    CARAT_UNROLL_1 for (int chunk = warp; chunk < x.chunks; chunk += kWorkers) {
      float value[kTileBlocks] = {};
      const auto column = [&](int k) { return chunk * kTileColumns + k * 32 + lane; };
      hear<kTileBlocks>(
          value, epoch, [&](int k) { return column(k) < p.ffn_width; }, [&](int k) { return p.gated_values + column(k); });
      CARAT_UNROLL for (int k = 0; k < kTileBlocks; ++k) x.values[column(k)] = value[k];
    }
  }
  if (x.chunks % kWorkers == 0) {
    warp_barrier();
  } else {
    team_barrier(kTeamReady, kWorkerThreads);
  }
}

}  // namespace carat::cuda
