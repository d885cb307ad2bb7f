// What kernels are given: plain structs, read by the host's compiler and by the device's. Every pointer is the device's.
// Letters as in model/config.h; T rows of the step.
#pragma once

#include "backend/cuda/tile_format.h"
#include "sampling/adjustment.h"
#include "sampling/exp_double.h"
#if !defined(__CUDACC_RTC__)
#include <cstdint>
#endif

namespace carat::cuda {

inline constexpr int kKeysPerPage = 64;  // P
inline constexpr int kSplit = 256;       // keys of a split of attention
inline constexpr int kQueryRows = 32;    // of a block of attend_tiles: positions times the heads of a kv head
inline constexpr int kFastQueries = 64, kFastThreads = 128;  // of attend_fast
// Its queries, of so many pieces, and two pages of keys and values.
constexpr int attend_fast_bytes(int head_size, int pieces) {
  return pieces * kFastQueries * head_size * 2 + 2 * kKeysPerPage * (4 * head_size + 16);
}
inline constexpr int kRowThreads = 128;  // of a block that works on one row: the partial sums of a norm

// Products with many rows. Quantised: 64 rows x 64 outputs a block; floats: 128 x 128, half a chunk at a time.
inline constexpr int kGemmGroups = 8, kGemmTiles = 4, kGemmThreads = 64;  // of 8 outputs, of 16 rows
inline constexpr int kFloatGroups = 16, kFloatTiles = 8, kFloatThreads = 128;
// Bytes of a stage in shared memory; there are two, and after them 128 bytes.
constexpr int gemm_stage_bytes(TileType type) {
  const TileFormat format = tile_format(type);
  return format.quantised() ? kGemmTiles * (4096 + 256 + 512) + kGemmGroups * format.tile_bytes()
                            : kFloatTiles * 4096 + kFloatGroups * format.tile_bytes() / 2;
}
// All that a block takes: behind those, the scales of quantised weights.
constexpr int gemm_shared_bytes(TileType type) {
  const TileFormat format = tile_format(type);
  const int scales = format.quantised() ? 2 * 128 * format.subs * (format.min ? 2 : 1) : 0;
  return 2 * gemm_stage_bytes(type) + 128 + scales * 4;
}

struct TileMatrix {
  const uint8_t* data;  // [groups][chunks] tiles
  TileType type;
  int32_t rows;    // as in the file; outputs beyond them are not stored
  int32_t groups;  // of 8 rows
  int32_t chunks;  // of 128 columns
};

// Products of 16 rows a block: its threads, the outputs of a thread, floats from one row of sums to the next (no two lanes of a
// warp that stores them meet in a bank), tiles of weights that a warp multiplies at a time, and how many times as many it has on
// their way.
inline constexpr int kSomeThreads = 512, kSomeTotals = 8, kSomeMostChunks = kSomeThreads / 32;
constexpr int some_pitch(int groups) { return groups * kTileRows + (40 - groups * kTileRows % 32) % 32; }
constexpr int some_at_once(TileType type) { return tile_format(type).tile_bytes() > 2048 ? 1 : 2; }
constexpr int some_depth(TileType type) { return tile_format(type).tile_bytes() > 1200 ? 2 : 3; }
constexpr int some_ring_bytes(TileType type) {
  return some_depth(type) * some_at_once(type) * tile_format(type).tile_bytes();
}
constexpr int some_shared_bytes(TileType type, int groups, int warps) {
  return warps * (16 * some_pitch(groups) * 4 + some_ring_bytes(type));
}

// A block of close_rows; widths up to kCloseValues or kWideCloseValues a thread.
inline constexpr int kCloseThreads = 384, kCloseValues = 4, kWideCloseValues = 14;
// The same where a product's sums are whole: a warp for each 128 columns, and one.
inline constexpr int kCloseFewChunks = 10, kWideCloseFewChunks = 20;
constexpr int close_few_bytes(int chunks) { return 2 * chunks * kTileColumns * 4; }
constexpr int close_shared_bytes(int width) { return (kRowThreads + width) * 4; }

// Activations as products read them, rounded to 15 bits in two planes: q = 128 high + low, low in 0..127.
//   rows:       planes [T][blocks][high 32 bytes, low 32 bytes]
//   fragments:  planes [chunk][row / 16][high, low][4 blocks][32 lanes][16 bytes], A fragments of mma.m16n8k32
//   columns:    planes [chunk][row / 8][4 blocks][32 lanes][high, low: 8 bytes each], B fragments of it
// and as floats for 16- and 32-bit weights: values [T][chunks * 128]; fragments of two bf16 pieces (value = high + low):
//   pieces [chunk][row / 16][8 steps of 16 columns][high, low][32 lanes][16 bytes], A fragments of mma.m16n8k16
//   columns:    pieces [chunk][row / 8][8 steps][32 lanes][high, low: 8 bytes each], B fragments of it
// or, for BF16 weights and many rows, as cores (half_params.h): pieces [high, low][64 columns][row / 8][8 columns] ...
struct Rounded {
  uint8_t* planes;
  float* scales;  // rows: [T][blocks]; fragments: [chunk][T16][4]
  int32_t* sums;  // of 16 columns. rows: [T][blocks][2]; fragments: [chunk][T16][4][2]
  float* values;
  uint8_t* pieces;
  float* factors;  // [T]: what the product's result is multiplied by (1 / rms, or 1)
  int32_t chunks;  // of 128 columns, the last one filled with zeros
  int32_t columns;
  int32_t rows16;     // T16: T rounded up to whole fragments
  int32_t fragments;  // 4: halves (exact_params.h); 3: columns; 2: fragments, floats as cores; 1: fragments; 0: rows
  int32_t integers, floats;  // which of the two forms are wanted
  int32_t core_planes;       // 2, or 1 where high pieces are enough
};
inline constexpr int kColumnsForm = 3, kExactForm = 4;  // of `fragments`
inline constexpr int kCoreRows = 256;                   // that cores are filled up to
constexpr int core_groups(int rows16) { return (rows16 + kCoreRows - 1) / kCoreRows * (kCoreRows / 8); }

struct RowInfo {
  int32_t token;
  int32_t position;
  int32_t seq;         // index into the tables
  int32_t sees_until;  // the last position that it attends to
};

// Page tables of the step: [2 kinds: sliding, global] of sequence s at pages[kind][begin[kind][s]], `count` long.
struct Tables {
  const int32_t* pages[2];
  const int32_t* begin[2];
  const int32_t* count[2];
};

struct EmbedParams {
  TileMatrix table;
  const RowInfo* rows;
  const int32_t* slots;     // what slots sampled
  const float* embeddings;  // [N][D]
  float* hidden;            // [T][D]
  const float* norm;        // of the first layer
  Rounded out;
  const double* frequencies[2];  // [E / 2]: sliding, global
  float* cosines[2];             // [T][E / 2]
  float* sines[2];
  int32_t width, half, from_slot, image_row;
  float scale, epsilon;
};

// hidden += norm(projected), then the next product's input.
struct CloseParams {
  const float* projected;  // [splits][T][D]: parts of a sum, added in their order
  const float* post_norm;
  float* hidden;
  const float* next_norm;  // null: nothing follows
  Rounded out;
  int32_t width;
  float epsilon;
  int32_t splits;
  int64_t split_stride;
};

// The wanted rows of hidden, normed: the head's input, or the result itself.
struct LastParams {
  const float* hidden;
  const int32_t* wanted;  // [L] rows
  const float* norm;
  Rounded out;
  float* normed;   // [L][D] or null
  uint64_t* best;  // [L], which the head will find: none yet; or null
  int32_t width;
  float epsilon;
};

struct RoundParams {
  const float* values;  // [T][columns]
  Rounded out;
};

struct HeadsParams {
  float* qkv;  // [T][(H + 2 K) E]; q is normed, rotated and scaled in place
  const float *q_norm, *k_norm;
  const float *cosines, *sines;
  uint16_t *k_cache, *v_cache;
  const int32_t* places;  // [T] of a row's key and value: page * kKeysPerPage and which of the page's
  int32_t heads, kv_heads, head_size;
  float query_scale, epsilon;
};

// K: f16 [page][K][E / 8][64 keys][8]   V: f16 [page][K][64 keys][E]
struct AttentionParams {
  const float* qkv;
  const uint16_t *k_cache, *v_cache;
  const RowInfo* rows;
  const int32_t *pages, *begin, *count;
  const int32_t*
      items;  // rows of attend_splits; of those in tiles (attend_fast, attend_wide): pairs of a first row and how many, of one sequence; tiles_params.h
  float* out;  // [T][H E]
  float*
      partials;  // [items][H][splits][E + 2]: a split's largest score, sum and values; of tiles: records (tiles_params.h)
  int32_t heads, kv_heads, head_size, window, global;
  int32_t splits;  // of the partials; 0: every block combines its row's splits itself
  // Of all but attend_fast: 1: what they compute becomes `rounded`, not `out`; attend_tiles (kExactForm): 2: with sums.
  int32_t round;
  Rounded rounded;
};

// Rows that are their sequence's only ones, heads of kOneHead; groups: query heads of a block.
inline constexpr int kOneHead = 256, kOneThreads = 256;
struct OneParams {
  AttentionParams attention;
  HeadsParams heads;
};
constexpr int one_shared_bytes(int group) { return (group * (9 * kOneHead + kSplit + 8) + 8) * 4 + 2 * kOneHead * 2; }
// The same of few rows: blocks of a split, and what one has of shared memory.
inline constexpr int kAttendBlocks = 4;
inline constexpr int kAttendFewBytes =
    (kOneHead + 4 * kKeysPerPage + kSplit + 8 * kOneHead / 4 + 4) * 4 + 2 * kOneHead * 2;
struct GatedParams {
  const float* products;  // [T][2 F], in groups of 8: gate, up, gate, up ...
  Rounded out;            // [T][F]
};

struct ProductParams {
  TileMatrix matrix;
  Rounded x;
  float* out;  // [T][out_stride]: row r of group g at (g * group_step + group_first) * 8 + r
  int32_t out_stride;
  int32_t group_step, group_first;
  int32_t rows;  // T
};

struct SomeParams {
  TileMatrix matrix;
  Rounded x;
  float* out;  // as ProductParams has it
  int32_t out_stride;
  int32_t group_step, group_first;
  int32_t rows;    // T
  int32_t groups;  // of a block
  int32_t
      gate;  // 1: groups are gate, up, gate, up ... and become `gated`; a block has a multiple of 8, and all chunks at once
  Rounded gated;
};

// What a step is told, from the host's memory: multiples of 16 bytes.
struct TakeParams {
  const uint8_t* from;
  uint8_t* to;
  int32_t bytes;
};
inline constexpr int kTakeThreads = 512, kTakeBytes = 16 * kTakeThreads * 2;  // at most

struct CopyPagesParams {
  uint8_t* base;         // of one layer's K and V
  const int32_t* pairs;  // from, to
  int64_t page_bytes;
};

struct RepackParams {
  const uint8_t* file;  // rows of the file's blocks, from `first_row` on
  uint8_t* tiles;
  TileType type;
  int32_t first_row, rows;  // of the piece; first_row is a multiple of 8
  int32_t columns, chunks;
  int64_t row_bytes;
  int32_t group_step, group_first;  // where group g of this matrix lies: g * group_step + group_first
};

struct BestParams {
  const float* logits;  // [L][V]
  uint64_t* best;       // [L]: order of the float, then the lower id
  int32_t vocabulary;
};

// The most probable tokens of a row: everything that is not below `least`, the k-th of the groups' largest logits. As k
// groups reach it, the k best tokens do; of independent logits few others.
inline constexpr int kTopGroups = 2048;  // logit i is of group i % kTopGroups
inline constexpr int kMostTop = 256;     // the largest k
inline constexpr int kTopTaken = 1024;   // places for a row
inline constexpr uint32_t kOrderOfNothing =
    0x007fffffu;  // of -inf (order_of_logit): what is not above cannot be chosen
struct TopParams {
  const float* logits;   // [L][V]
  const uint64_t* best;  // [L], as find_best left them
  const double* below;   // [L]: negative: all that lie no further below the best, instead of the k best; else 0
  uint32_t* largest;     // [L][kTopGroups], as order_of_logit orders them
  uint32_t* least;       // [L]
  uint64_t* count;       // [L]: 0 before, then how many there are; more than kTopTaken are not all taken
  uint64_t* taken;       // [L][kTopTaken]: order_of_logit, in any order
  int32_t vocabulary, k;
};

// Bias, penalties, stop rules and a grammar's mask, done to rows where they lie.
struct AdjustParams {
  float* logits;            // [L][V]
  const Adjustment* list;   // of row r: [begin[r], begin[r + 1])
  float* before;            // what those logits were
  const int32_t* begin;     // [L + 1]
  const uint32_t* allowed;  // bit id % 32 of word id / 32, mask_words a mask
  const int32_t* mask;      // [L]: which one; -1: none
  int32_t vocabulary, mask_words;
};

// The sums of weights of every piece of kPieceLogits logits.
inline constexpr int kSumThreads = 256;
struct SumParams {
  const float* logits;         // [L][V]
  const uint64_t* best;        // [L], as find_best left them: what is subtracted from every logit
  const double* temperatures;  // [L]; 0: no sums of that row
  double* sums;                // [L][pieces]
  int32_t vocabulary, pieces;
};

// A draw that the device makes itself: the first of a row, or one of its top_k best, as they are.
struct DrawSpec {
  int32_t slot;   // where the token goes for later steps; -1: nowhere
  int32_t top_k;  // 0: the first; at most kMostTop
  float temperature, top_p;
  double below;    // of min_p, as in TopParams
  double uniform;  // the draw
};
inline constexpr int kDrawThreads = kMostTop;
struct DrawParams {
  const float* logits;
  const uint64_t* best;           // as find_best left them
  const uint64_t *count, *taken;  // of TopParams, where any draw has a top_k
  const DrawSpec* specs;          // [L]
  int32_t* slots;
  uint64_t* keys;  // [L] what `best` has, and
  int32_t* drawn;  // [L] the tokens: of the host
  int32_t vocabulary;
};

struct ReadParams {
  const void* data;
  int64_t words;  // of 16 bytes
  uint32_t* sink;
};

// The persistent kernel for one row: everything of a layer that does not change from step to step.
struct DecodePart {
  TileMatrix matrix;
  int32_t group_step, group_first;
};
struct DecodeLayer {
  const float* norm_before;  // that closes the layer before; null for the first
  const float *attn_norm, *q_norm, *k_norm, *post_attn_norm, *ffn_norm;
  DecodePart qkv[3], gate_up[2], attn_out, down;
  int32_t qkv_parts, gate_up_parts;
  uint16_t *k_cache, *v_cache;
  int32_t global;
  int32_t rounded[3];  // inputs of qkv and gate_up, attn_out, down: 1 integers, 2 floats, 3 both
};
inline constexpr int kDecodeStages = 7;  // whose time is taken: embed, qkv, attn, attn_out, gate_up, down, the head
inline constexpr int kDecodeProducts = 4;

// head_row: tiles that each warp has on their way, 48 KB a block at most.
inline constexpr int kHeadThreads = 512, kHeadWarps = kHeadThreads / 32;
constexpr int head_depth(TileType type) {
  const int depth = 3072 / tile_format(type).tile_bytes();
  return depth > 2 ? depth : 2;
}

// Warps of decode_row: workers, which prepare a product's input and multiply; finishers, which sum what the workers leave, tell it
// to the other blocks and know the norms; and one that brings weights.
//   Sixteen warps have 128 registers a thread. Eighteen workers had 80, and what they spilled was slower than anything else:
// where shared memory takes all of L1, local memory is as far away as L2.
inline constexpr int kWorkers = 11, kFinishers = 4;
inline constexpr int kWorkerThreads = kWorkers * 32, kComputingThreads = kWorkerThreads + kFinishers * 32;
inline constexpr int kDecodeThreads = kComputingThreads + 32;
inline constexpr int kPieceChunks = 9;  // of a piece of weights, of two groups of integers or one of floats
constexpr int decode_piece_groups(TileType type) { return tile_format(type).quantised() ? 2 : 1; }
constexpr int decode_piece_bytes(TileType type) {
  return decode_piece_groups(type) * kPieceChunks * tile_format(type).tile_bytes();
}
inline constexpr int kAtOnceUnits = 4, kAtOnceFloats = 2;  // chunks of pieces that a worker multiplies together
// Whether a worker multiplies one chunk of all pairs of groups, the one that it has rounded: then it is looked for once. Where a
// block has many they are shared out evenly.
constexpr bool decode_own_chunks(TileType type, int sets, int chunks) {
  return tile_format(type).quantised() && chunks <= kPieceChunks && sets <= 8;
}
inline constexpr int kPartItems =
    256;  // segments of 8 outputs that a block holds at a time, more where a unit of a stage has more; there are two such places

// A chunk of a product's input in shared memory: two planes (high, low), scales, sums of 16. A plane as the lanes of an mma want
// it: byte i of word 8 t + 2 b + h is column 16 h + 4 t + i of block b.
inline constexpr int kRecordPlane = 144, kRecordScales = 288, kRecordSums = 304, kRecordBytes = 336;
// Bytes of an input of so many chunks, in the forms of DecodeLayer::rounded.
constexpr int decode_input_bytes(int chunks, int forms) {
  return chunks * ((forms & 1) * kRecordBytes + (forms >> 1) * kTileColumns * 4);
}

// Of its attention: quarters of scores, then weights and values by groups of 32 keys, for all heads of a kv head (four at most);
// where a row sees few keys, weights, and all values that a block brings.
inline constexpr int kQuartersBytes = 2048, kValuesBytes = 5120, kFewWeightsBytes = 3840, kFewValuesBytes = 20 * 528;
constexpr int decode_attention_bytes(int heads_of_kv) {
  const int many = (heads_of_kv + 1) * kValuesBytes, few = kFewWeightsBytes + kFewValuesBytes;
  return kQuartersBytes + (many > few ? many : few);
}

// n / divisor is n * inverse_of(divisor) >> 20, for the small numbers of a block's pieces.
constexpr int inverse_of(int divisor) { return (1 << 20) / divisor + 1; }

// Which groups of 8 outputs of a part a block computes, one after the other (decode_plan.cc).
struct DecodeShare {
  int first, slots;  // of groups
};
// Groups of each part that a block computes at a time.
constexpr int decode_round(int items, int chunks, int parts, int unit) {
  const int step = unit > 2 ? unit : 2;
  const int slots = items / (chunks * parts) / step * step;
  return slots > unit ? slots : unit;
}
// A stage's shares of a block.
struct DecodeShares {
  DecodeShare of[3];
  int round, unused;
};
struct DecodeHead {
  DecodePart part;
  DecodeShares shares;
};
// Whether each block finishes eight columns of a head for all keys that a row sees, 20 groups of 32 at most; else splits of 256
// keys are shared out.
inline constexpr int kValueColumns = 8, kFewGroups = 20;
constexpr bool decode_few_keys(int first_key, int position, int columns, int blocks) {
  return position / 32 - first_key / 32 + 1 <= kFewGroups && columns <= 2 * kValueColumns * blocks;
}
// Whether each such block scores all keys itself: in all layers those from the first on, kNearKeys at most (decode_near.cuh).
inline constexpr int kNearKeys = 128, kNearPages = kNearKeys / kKeysPerPage;
constexpr bool decode_near_keys(int position, int window, int columns, int blocks) {
  return position < kNearKeys && position < window && decode_few_keys(0, position, columns, blocks);
}
// The unit of gate_up: what 32 neighbours between gate and down need, where they are rounded (1); else 8.
constexpr int decode_gated_unit(int parts, int rounded) { return ((rounded & 1) != 0 ? 4 : 1) * (parts == 1 ? 2 : 1); }

// Shared memory of decode_row, in bytes.
struct DecodeLayout {
  int arrivals, angles, scratch, gated, since, layers, parts, part_bytes, heads, attention, hidden, copy, heard, x[3],
      slots, bytes;
};
inline constexpr int kMostPieces = 32;
// Arrivals: of the ring, of parts, of rounds (decode.cuh).
inline constexpr int kRoundsAt = 2 * kMostPieces + 4, kRounds = 3, kDecodeArrivals = kRoundsAt + kRounds;
inline constexpr int kScratchBytes = (2 * kRowThreads + 16) * 4;  // partial sums of two norms, two factors; eight zeros
constexpr DecodeLayout decode_layout(int width, int heads_of_kv, int head_size, int part_items, const int32_t* x_bytes,
                                     int slot_bytes, int depth) {
  const auto after = [](int at, int bytes) { return at + (bytes + 127) / 128 * 128; };
  DecodeLayout l{};
  l.arrivals = 0;
  l.scratch = after(l.arrivals, kDecodeArrivals * 8);
  l.gated = after(l.scratch, kScratchBytes);
  l.since = after(l.gated, kFinishers * 32 * 4);
  l.layers = after(l.since, 128);
  l.parts = after(l.layers, 3 * static_cast<int>(sizeof(DecodeLayer) + kDecodeProducts * sizeof(DecodeShares)) +
                                static_cast<int>(sizeof(DecodeHead)));
  l.part_bytes = part_items * kTileRows * 4;
  l.angles = after(l.parts, 2 * l.part_bytes);
  l.heads = after(l.angles, head_size * 8);
  l.hidden = after(l.heads, (heads_of_kv + 2) * head_size * 4);
  l.copy = after(l.hidden, width * 4);
  l.heard = after(l.copy, width * 4);
  l.x[0] = after(l.heard, width * 4);
  l.x[1] = after(l.x[0], x_bytes[0]);
  l.x[2] = after(l.x[1], x_bytes[1]);
  l.attention = l.x[2];  // two norms apart, which all workers meet in
  const int of_attention = decode_attention_bytes(heads_of_kv);
  l.slots = after(l.x[2], x_bytes[2] > of_attention ? x_bytes[2] : of_attention);
  l.bytes = after(l.slots, depth * slot_bytes);
  return l;
}

struct DecodeParams {
  const DecodeLayer* layers;
  TileMatrix embedding, head;
  const float *last_norm, *final_norm;  // that closes the last layer; before the head
  const double* frequencies[2];
  RowInfo row;
  int32_t* slots;  // what slots sampled
  const float* embeddings;
  const int32_t* pages[2];  // of the row's sequence
  int32_t page_count[2];
  int32_t near_pages[2][kNearPages];  // the first of them
  const DecodeShares*
      shares;  // [layers + 1][blocks][kDecodeProducts]: qkv, attn_out, gate_up, down; the head's comes last
  // The pieces of weights that a block's producer brings, in order: [first_piece[block], first_piece[block + 1]), those of
  // the head from head_piece[block]. An address below, bytes / 16 in the upper 16 bits. Odd: the next entry comes to the same
  // place, behind it.
  const uint64_t* pieces;
  const uint32_t *first_piece, *head_piece;
  // What blocks tell each other: a float below, the epoch above. The epoch of a layer is `epoch` + its number.
  uint64_t *qkv, *scores, *values, *weights, *attended, *projected, *down[2], *gated_values;
  void* gated;     // [F / 32][7] Words4: three words and the epoch; of 19: planes, scale, sums
  float* hidden;   // [D] after the last layer
  float* logits;   // [V] or null: not wanted
  uint64_t* best;  // where the last block puts the best logit (order_of_logit); null: no head
  uint64_t*
      landing;  // of the host, [1 + kDecodeStages]: the same, and the stages' nanoseconds; null: nobody wants to know
  uint64_t* meeting;            // [2]: best so far, blocks that have ended; zeros between launches
  uint64_t* stage_nanoseconds;  // [kDecodeStages], added to by the first block
  uint32_t epoch;
  int32_t layer_count, width, ffn_width, heads, kv_heads, head_size, window, vocabulary, from_slot, image_row;
  int32_t flags_of_down;  // blocks without a share of `down`
  int32_t slot;           // where the best token goes for later steps; -1: nowhere
  int32_t score_stride, split_stride;
  DecodeLayout layout;
  int32_t slot_bytes, depth, depth_inverse;  // inverse_of(depth)
  int32_t at_once_layers, at_once_head;      // pieces on their way
  float query_scale, embedding_scale, epsilon;
};

// Types as bits; those of two scales a block.
constexpr uint32_t type_bit(TileType type) { return 1u << static_cast<int>(type); }
inline constexpr uint32_t kAllTypes = (1u << kTileTypes) - 1;
constexpr uint32_t types_of_halves() {
  uint32_t types = 0;
  for (int i = 0; i < kTileTypes; ++i) {
    if (tile_format(static_cast<TileType>(i)).subs == 2) types |= 1u << i;
  }
  return types;
}
// llama.cpp's Q4_K_M of the 1B, whose rows of 1,152 columns hold no block of 256.
inline constexpr uint32_t kTypesOfQ4KM = type_bit(TileType::kQ4_0) | type_bit(TileType::kQ5_0) |
                                         type_bit(TileType::kQ8_0) | type_bit(TileType::kQ4_K) |
                                         type_bit(TileType::kQ6_K);

// X(type) for every tensor type, in the order of TileType.
#define CARAT_CUDA_TYPES(X) X(F32) X(F16) X(BF16) CARAT_CUDA_QUANTISED_TYPES(X)
#define CARAT_CUDA_QUANTISED_TYPES(X) \
  X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) X(IQ4_XS)

// By TileType: what the names of the kernels that are compiled for each type end in.
inline constexpr const char* kTileTypeNames[] = {
#define CARAT_TYPE_NAME(name) #name,
    CARAT_CUDA_TYPES(CARAT_TYPE_NAME)
#undef CARAT_TYPE_NAME
};

// Every kernel but gemm_TYPE (ProductParams), some_TYPE (SomeParams), those of few_params.h and head_row_TYPE (DecodeParams):
// name and parameters.
#define CARAT_CUDA_KERNELS(X)           \
  X(take_step, TakeParams)              \
  X(embed_rows, EmbedParams)            \
  X(close_rows, CloseParams)            \
  X(close_wide_rows, CloseParams)       \
  X(close_few_10, CloseParams)          \
  X(close_few_20, CloseParams)          \
  X(last_rows, LastParams)              \
  X(round_rows, RoundParams)            \
  X(gate_rows, GatedParams)             \
  X(prepare_heads, HeadsParams)         \
  X(attend_splits, AttentionParams)     \
  X(attend_heads_2, AttentionParams)    \
  X(attend_heads_4, AttentionParams)    \
  X(attend_one_1, OneParams)            \
  X(attend_one_2, OneParams)            \
  X(attend_one_4, OneParams)            \
  X(attend_few, OneParams)              \
  X(combine_splits, AttentionParams)    \
  X(attend_tiles, AttentionParams)      \
  X(join_parts, AttentionParams)        \
  X(attend_fast_64, AttentionParams)    \
  X(attend_fast_128, AttentionParams)   \
  X(attend_fast_256, AttentionParams)   \
  X(attend_near_64, AttentionParams)    \
  X(attend_near_128, AttentionParams)   \
  X(attend_near_256, AttentionParams)   \
  X(repack_tiles, RepackParams)         \
  X(copy_pages, CopyPagesParams)        \
  X(decode_row, DecodeParams)           \
  X(decode_row_1b, DecodeParams)        \
  X(decode_row_1b_Q4_0, DecodeParams)   \
  X(decode_row_1b_Q8_0, DecodeParams)   \
  X(decode_row_1b_BF16, DecodeParams)   \
  X(decode_deep_1b_Q4_0, DecodeParams)  \
  X(decode_deep_1b_Q8_0, DecodeParams)  \
  X(decode_deep_1b_BF16, DecodeParams)  \
  X(decode_near_1b_Q4_0, DecodeParams)  \
  X(decode_near_1b_Q8_0, DecodeParams)  \
  X(decode_near_1b_BF16, DecodeParams)  \
  X(decode_near_1b_mixed, DecodeParams) \
  X(decode_row_1b_mixed, DecodeParams)  \
  X(decode_deep_1b_mixed, DecodeParams) \
  X(find_best, BestParams)              \
  X(top_largest, TopParams)             \
  X(top_least, TopParams)               \
  X(top_taken, TopParams)               \
  X(adjust_rows, AdjustParams)          \
  X(sum_pieces, SumParams)              \
  X(draw_rows, DrawParams)              \
  X(read_memory, ReadParams)

}  // namespace carat::cuda
