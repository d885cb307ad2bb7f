// One row through the whole model in one launch: a block on every multiprocessor.
//   per layer: qkv | scores | values | (splits, where there are many) | attn_out | gate_up | down      then the head
// No meeting of all blocks: what one block tells the others are words that carry the epoch of their layer, and whoever needs
// a word looks at it until its epoch has come. What a stage reads of the others' results every block prepares for itself in
// shared memory (norms, the rounding).
//   A block has eleven workers, four finishers and a warp that brings the weights of all stages, in order, through a ring in
// shared memory: weights never wait for activations. The workers share a product's input and its tiles; the finishers hear what
// norms are taken of, sum the segments and tell them to the other blocks.
//   A word is written again one layer later, by a block that has seen every block's words of `down` (those without a share
// write a flag), and these are written when a block's workers have read all else of its layer. `down` has two places in turns.
#pragma once

#include "backend/cuda/device/decode_deep.cuh"
#include "backend/cuda/device/decode_near.cuh"
#include "backend/cuda/device/decode_product.cuh"

namespace carat::cuda {

// The row's hidden state before the first layer, by four warps.
struct DecodeEmbed {
  const Decode& d;
  int id;
  template <TileType kType>
  CARAT_METHOD void run() const {
    const TileMatrix& table = d.p.embedding;
    for (int i = this_thread(); i < d.p.width; i += kRowThreads) {
      const uint8_t* tile = table.data + (static_cast<int64_t>(id / kTileRows) * table.chunks + i / kTileColumns) *
                                             tile_format(kType).tile_bytes();
      d.hidden()[i] = d.copy()[i] =
          tile_element_of<kType>(tile, id % kTileRows, i % kTileColumns) * d.p.embedding_scale;
    }
  }
};
CARAT_DEVICE void decode_embed(const Decode& d, const RowInfo& info) {
  const DecodeParams& p = d.p;
  if (this_thread() >= kRowThreads) {  // angles, meanwhile
    const int E = p.head_size;
    for (int i = this_thread() - kRowThreads; i < E; i += kComputingThreads - kRowThreads) {
      const int kind = i / (E / 2);
      rope_angle(static_cast<double>(info.position) * p.frequencies[kind][i % (E / 2)], d.cosines() + i, d.sines() + i);
    }
    return;
  }
  int id = info.token;
  if (id >= p.from_slot) id = p.slots[id - p.from_slot];
  if (info.token < p.from_slot && info.token >= p.image_row) {
    for (int i = this_thread(); i < p.width; i += kRowThreads) {
      d.hidden()[i] = d.copy()[i] = p.embeddings[static_cast<int64_t>(info.token - p.image_row) * p.width + i];
    }
  } else {
    for_type(p.embedding.type, DecodeEmbed{d, id});
  }
}

// What attention left, as the input of attn_out.
template <int kShape, bool kHalves>
CARAT_DEVICE void take_attended(const DecodeParams& p, const DecodeInput& x, uint32_t epoch) {
  const int columns = Sizes<kShape>::heads(p) * Sizes<kShape>::head_size(p), end = x.chunks * kTileColumns;
  CARAT_UNROLL_1 for (int i = this_warp() * kTileColumns + 4 * this_lane(); i < end; i += kWorkers * kTileColumns) {
    Words4 two[2];  // words each
    CARAT_UNROLL for (int k = 0; k < 2; ++k) two[k] = {0, i < columns ? 0 : epoch, 0, i < columns ? 0 : epoch};
    const auto there = [&](int k) { return two[k].y == epoch && two[k].w == epoch; };
    do {
      CARAT_UNROLL for (int k = 0; k < 2; ++k) {
        if (!there(k)) two[k] = load_fresh(reinterpret_cast<const Words4*>(p.attended + i) + k);
      }
    } while (!warp_all(there(0) && there(1)));
    const float value[4] = {bits_to_float(two[0].x), bits_to_float(two[0].z), bits_to_float(two[1].x),
                            bits_to_float(two[1].z)};
    if (x.integers) round_chunk<kHalves>(x.record(i / kTileColumns), value);
    if (x.floats) store_four(x.values() + i, value);
  }
}

// The last block that comes here has seen every block's best.
CARAT_DEVICE void decode_best(const DecodeParams& p, uint64_t best) {  // the finishers'
  warp_barrier();
  CARAT_UNROLL for (int width = 16; width > 0; width /= 2) {
    const uint64_t other = from_lane_xor(best, width);
    best = other > best ? other : best;
  }
  if (this_lane() == 0) atomic_max(p.meeting, best);
  team_barrier(kTeamFinishers, kFinishers * 32);
  if (finisher_thread() != 0) return;
  if (atomic_add(p.meeting + 1, 1) != gridDim.x - 1) return;
  const uint64_t all = load_fresh(p.meeting);
  *p.best = all;
  if (p.landing != nullptr) p.landing[0] = all;
  if (p.slot >= 0) p.slots[p.slot] = static_cast<int32_t>(~static_cast<uint32_t>(all));
  p.meeting[0] = 0;
  p.meeting[1] = 0;
}

// How many keys a row sees (decode_near_keys, decode_few_keys). kAny: few ones, many, or few blocks.
enum class KeysSeen { kNear, kFew, kAny };

// kTypes: the types that matrices of the layers and the head have, a bit each. kShape: see Sizes. What is not in a kernel takes
// none of its registers, and none of its place in the instruction cache.
template <uint32_t kTypes, int kShape, KeysSeen kSeen>
CARAT_DEVICE void decode_one_row(const DecodeParams& p) {
  using S = Sizes<kShape>;
  constexpr bool kNear = kSeen == KeysSeen::kNear, kDeep = kSeen == KeysSeen::kAny;
  const int D = S::width(p), E = S::head_size(p), heads = S::heads(p), warp = this_warp();
  constexpr bool kHalves = (kTypes & types_of_halves()) != 0;
  const DecodeLayout& l = p.layout;
  uint8_t* shared = shared_memory();
  const auto ring_at = [&](int slot, uint32_t parity) {
    return WeightRing{l.slots, l.arrivals, p.depth, p.depth_inverse, p.slot_bytes, slot, parity};
  };
  const auto places_at = [&](uint32_t turn) {
    return PartPlaces{l.parts, l.part_bytes, l.arrivals + 2 * kMostPieces * 8, turn};
  };
  const Decode d{p};
  if (this_thread() == 0) {
    ring_at(0, 0).begin();
    places_at(0).begin();
    d.begin_rounds();
    arrival_fence();
    d.begin_times();
    for (int i = 0; i < 8; ++i) d.factors()[8 + i] = 0.0f;  // zeros()
  }
  block_barrier();
  if (warp == kWorkers + kFinishers) return bring_weights(p, ring_at(0, 0));

  auto* layers = reinterpret_cast<DecodeLayer*>(shared + l.layers);
  static_assert(sizeof(DecodeLayer) % 8 == 0, "copied in words");
  auto* of_head = reinterpret_cast<DecodeHead*>(layers + 3);
  auto* shares = reinterpret_cast<DecodeShares*>(of_head + 1);
  const int grid = static_cast<int>(gridDim.x);
  constexpr int kSharesWords = kDecodeProducts * static_cast<int>(sizeof(DecodeShares) / 8);
  static_assert(sizeof(DecodeShares) % 8 == 0, "copied in words");
  const auto shares_from = [&](int index) {
    return p.shares + (index * grid + static_cast<int>(blockIdx.x)) * kDecodeProducts;
  };
  const auto fetch_layer =
      [&](int index) {  // its description, into one of three places, by a warp; then this block's shares
        const auto* from = reinterpret_cast<const uint64_t*>(p.layers + index);
        auto* to = reinterpret_cast<uint64_t*>(layers + index % 3);
        for (int i = this_lane(); i < static_cast<int>(sizeof(DecodeLayer) / 8); i += 32) to[i] = from[i];
        const auto* from_shares = reinterpret_cast<const uint64_t*>(shares_from(index));
        auto* to_shares = reinterpret_cast<uint64_t*>(shares + index % 3 * kDecodeProducts);
        for (int i = this_lane(); i < kSharesWords; i += 32) to_shares[i] = from_shares[i];
      };
  d.stamp(-1);
  int slot = 0;  // of the ring, and how often it went round
  uint32_t parity = 0, turn = 0;
  if (warp == kWorkers - 1) {
    fetch_layer(0);
    if (this_lane() == 0) {
      of_head->part = {p.head, 1, 0};
      of_head->shares = *shares_from(p.layer_count);
    }
  }
  decode_embed(d, p.row);
  team_barrier(kTeamBegin, kComputingThreads);
  d.stamp(0);

  const auto keys_of = [&](const DecodeLayer& layer) {
    const int kind = layer.global;
    DecodeKeys keys{p.pages[kind], p.page_count[kind], p.row.position, 0, false};
    if (kind == 0) keys.first_key = most(0, keys.position - p.window + 1);
    keys.few = !kDeep || decode_few_keys(keys.first_key, keys.position, heads * E, grid);
    return keys;
  };
  // A stage: its input is prepared, its product computed, its outputs told. All stages by the same code, which is small then.
  //   0 qkv, 1 attention and attn_out, 2 gate_up, 3 down; after the layers 0 once more: the head
  CARAT_UNROLL_1 for (int index = 0, stage = 0;; stage = (stage + 1) % 4) {
    const DecodeLayer& layer = layers[index % 3];
    const uint32_t epoch = p.epoch + static_cast<uint32_t>(index);
    const bool head = index == p.layer_count, normed = stage % 2 == 0, first = stage == 0,
               works = this_warp() < kWorkers;
    DecodeInput x;
    constexpr int kForms = forms_of(kTypes);
    if (normed) {
      x.begin(l.x[0], D, kForms != 3 ? kForms : !head ? layer.rounded[0] : are_integers(p.head.type) ? 1 : 2);
    } else {
      const int place = stage == 1 ? 1 : 2;
      x.begin(l.x[place], stage == 1 ? heads * E : S::between(p), kForms != 3 ? kForms : layer.rounded[place]);
    }
    const auto heard = [&] { return !first ? p.projected : index == 0 ? nullptr : p.down[(index - 1) % 2]; };
    const uint32_t heard_epoch = first ? epoch - 1 : epoch;
    const auto post_norm = [&] { return !first ? layer.post_attn_norm : head ? p.last_norm : layer.norm_before; };
    const auto parts = [&]() -> const DecodePart* {
      return head         ? &of_head->part
             : first      ? layer.qkv
             : stage == 1 ? &layer.attn_out
             : stage == 2 ? layer.gate_up
                          : &layer.down;
    };
    const auto count = [&] { return head ? 1 : first ? layer.qkv_parts : stage == 2 ? layer.gate_up_parts : 1; };
    const auto of_stage = [&]() -> const DecodeShares& {
      return head ? of_head->shares : shares[index % 3 * kDecodeProducts + stage];
    };
    if (works) {
      const bool alone = works_alone(parts(), count(), of_stage(), x.chunks);
      if (normed) {
        d.template take_hidden<kShape, kHalves>(x, heard() != nullptr, post_norm(),
                                                head    ? p.final_norm
                                                : first ? layer.attn_norm
                                                        : layer.ffn_norm,
                                                first);
      } else if (stage == 1) {
        const DecodeKeys keys = keys_of(layer);
        if constexpr (kNear) {
          DecodeNear<kShape>{d, layer, keys.position, epoch}.attend();
        } else {
          decode_scores<kShape, kDeep>(d, layer, keys, epoch);
          if (!kDeep || keys.few) {
            decode_few_values<kShape>(d, layer, keys, epoch);
          } else {
            decode_deep_values<kShape>(d, layer, keys, epoch);
            decode_combine<kShape>(p, keys, epoch);
          }
        }
        take_attended<kShape, kHalves>(p, x, epoch);
      } else {
        take_gated(p, x, epoch);
      }
      if (head && p.best == nullptr) return d.tell_times();
      if (alone) {
        warp_barrier();
      } else {
        team_barrier(kTeamReady, kWorkerThreads);
      }
      if (stage == 1) d.stamp(2);
      WeightRing ring = ring_at(slot, parity);
      PartPlaces places = places_at(turn);
      multiply_stage<kTypes>(ring, parts(), count(), of_stage(), x, places, d.zeros());
      slot = ring.slot;
      parity = ring.parity;
      turn = places.turn;
      d.stamp(head ? kDecodeStages - 1 : first ? 1 : stage + 2);
      if (head) return d.tell_times();
    } else {
      float factor = 1.0f;
      if (stage == 1) {
        const DecodeKeys keys = keys_of(layer);
        if constexpr (kNear) {
          DecodeNear<kShape>{d, layer, keys.position, epoch}.heads();
        } else {
          decode_heads<kShape, kDeep>(d, layer, keys, epoch);
        }
        if (this_warp() == kWorkers + kFinishers - 1 && index + 1 < p.layer_count)
          fetch_layer(index + 1);  // nobody looks at the one two layers before any more
      }
      if (normed)
        factor = d.template finish_norms<kShape>(heard(), first ? p.flags_of_down : 0, heard_epoch, post_norm(), first);
      if (head) {
        if (blockIdx.x == 0) {  // any block could
          for (int i = finisher_thread(); i < D; i += kRowThreads) p.hidden[i] = d.copy()[i];
        }
        if (p.best == nullptr) return;
      }
      uint64_t* words = first ? p.qkv : stage == 1 ? p.projected : p.down[index % 2];
      PartPlaces places = places_at(turn);
      if (head) {
        TakeLogits take{p, x.chunks, x.floats ? 1.0f : factor, 0};
        finish_stage(1, of_stage(), x.chunks, places, take);
        return decode_best(p, take.best);
      }
      if (stage == 2) {
        TellGated<kTypes> take{d, layer, epoch, x.chunks, factor};
        finish_stage(count(), of_stage(), x.chunks, places, take);
      } else {
        TellOutputs<kTypes> take{parts(), words, epoch, x.chunks, factor};
        finish_stage(count(), of_stage(), x.chunks, places, take);
      }
      turn = places.turn;
      if (stage == 3 && finisher_thread() == 0 && of_stage().of[0].slots == 0) {
        // Blocks without a share say that they have read all of the layer: their workers have come to the end of it.
        const int flag =
            static_cast<int>(blockIdx.x) - of_stage().of[0].first;  // how many blocks before this one have none
        tell(p.down[index % 2] + D + flag, 0.0f, epoch);
      }
    }
    if (stage == 3) ++index;
  }
}

}  // namespace carat::cuda
