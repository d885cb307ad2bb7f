// What the kernels of 16-bit products and of the vision tower are given (params.h has the text model's). Activations lie as
// halves in cores of 8 rows x 16 bytes, as the tiles of F16 and BF16 weights do (tile_format.h):
//   halves [planes][64 columns][8 rows][8 cores of 8 columns][8 rows][8 columns], rows filled up to whole kHalfRows
// Two planes hold 22 bits of a value: value = first + second. Columns that are not there are zeros.
#pragma once

#include "backend/cuda/params.h"

namespace carat::cuda {

inline constexpr int kHalfRows = 256;   // that buffers of halves are filled up to
inline constexpr int kHalfGroups = 18;  // of 8 outputs, a block's: 144, two heads of SigLIP
inline constexpr int kHalfOutputs = 8 * kHalfGroups;
inline constexpr int kHalfColumns = 64;                               // of a stage
inline constexpr int kHeadColumns = 72;                               // that a head of the tower is filled up to
inline constexpr int kHeadGroups = kHeadColumns / 8, kHeadSteps = 5;  // of 8 and of 16 columns
inline constexpr int kVisionKeys = 64;                                // of a stage of attention
inline constexpr int kVisionKeyBytes = kVisionKeys / 16 * kHeadSteps * 512;
inline constexpr int kVisionStageBytes = kVisionKeyBytes + kVisionKeys / 16 * kHeadGroups * 256;
inline constexpr int kVisionQueries = 128;  // patches of a block of attention
inline constexpr int kVisionStages = 4;
// Of a block, with one piece and with two: 64 patches for every 128.
inline constexpr int kVisionWideThreads[] = {256, 384};
// Of 8 columns that a lane holds of a row: up to 1,280 columns; SigLIP's have 1,152.
inline constexpr int kVisionOctets = 5;

// Blocks of eight warps that multiply and four that copy (sm_90), or of four warps that do both.
inline constexpr int kWideThreads = 384, kWideRows = 256, kShortRows = 128,
                     kFewCoreRows = 64;  // rows of a block: where there are many, few, fewer
inline constexpr int kNarrowThreads = 128, kNarrowStages = 2, kNarrowRows = 128;
constexpr int half_stage_bytes(int rows, int outputs = kHalfOutputs) { return (rows + outputs) * kHalfColumns * 2; }
inline constexpr int kTurnedHead = 256;  // outputs of a block of core_heads: a head
inline constexpr int kThinGroups = 4;    // of a block of core_text_thin: few outputs become many blocks
inline constexpr int kWideBlocks = 2;    // with the same rows, a cluster
// Blocks for so many tiles of rows and outputs: whole clusters, one block on a multiprocessor.
constexpr uint32_t wide_grid(int row_tiles, int output_tiles, uint32_t multiprocessors) {
  const auto clusters = static_cast<uint32_t>(row_tiles * ((output_tiles + kWideBlocks - 1) / kWideBlocks));
  const uint32_t most = multiprocessors < kWideBlocks ? 1 : multiprocessors / kWideBlocks;
  return kWideBlocks * (clusters < most ? clusters : most);
}
constexpr int wide_stages(int rows, int outputs = kHalfOutputs) {
  return rows == kWideRows || outputs == kTurnedHead ? 4 : outputs == 8 * kThinGroups ? 10 : 6;
}
constexpr int wide_bytes(int rows, int outputs = kHalfOutputs) {
  return wide_stages(rows, outputs) * (half_stage_bytes(rows, outputs) + 16);  // two arrivals each
}
// Of blocks of 64 or 128 rows (core_short.cu): both pieces of all rows and the weights, and where 64 rows have two sums.
constexpr int short_piece_bytes(int rows) { return rows * kHalfColumns * 2; }
constexpr int short_stage_bytes(int rows, int passes, int groups) {
  return passes * short_piece_bytes(rows) + groups * 8 * kHalfColumns * 2;
}
// alone: a block has one tile, and the sums of all its warps lie where its stages were; else those of 64 rows lie behind.
constexpr int short_bytes(int rows, int passes, int groups, bool alone, int stages) {
  const int threads = alone ? 128 : rows == 64 ? 64 : 0;
  const int ring = stages * short_stage_bytes(rows, passes, groups), sums = 8 * groups * 4 * threads;
  return (!alone ? ring + sums : ring > sums ? ring : sums) + stages * 16;
}
// So many stages, of those that a tile has, as fit a block of so many bytes.
constexpr int short_stages(int rows, int passes, int groups, bool alone, int of_tile, int bytes) {
  int stages = 2;
  while (stages < of_tile && short_bytes(rows, passes, groups, alone, stages + 1) <= bytes) ++stages;
  return stages;
}
inline constexpr int kSlimGroups = 14;   // of a block's outputs, where more blocks have them sooner,
inline constexpr int kBroadGroups = 28;  // and of two blocks of 128 rows, which share the weights

struct Halves {
  uint16_t* data;
  int64_t plane;   // halves from one plane to the next
  int32_t groups;  // of 8 rows
  int32_t planes;  // 1 or 2
  float scale;     // what is stored is so many times the value: a power of two
};

// Where a result goes, as halves or as floats [rows][stride]; either may be null.
struct RowsOut {
  Halves halves;
  float* floats;
  int32_t stride;
};

// Queries, keys and values of the tower as fragments of mma. Heads are filled up to 72 columns with zeros, patches up to 256.
//   queries [head][16 patches][5 steps][32 lanes][16 bytes]
//   keys and values [head][64 patches]: keys [16 patches][5 steps][32 lanes][16 bytes], values [16 patches][9][32 lanes][8 bytes]
// or as cores, for warpgroups: keys [8 of 8 patches][10 of 8 columns][8 patches][8 columns], values [9 of 8 columns][8 of 8 patches][8 columns][8 patches]
struct VisionHeads {
  uint8_t *queries, *keys;
  int64_t query_plane, key_plane;  // bytes from the first pieces to the second ones
  int32_t planes, cores;           // cores: whether keys and values are cores
  int32_t heads, patches, padded;  // patches: that there are; padded: with those that are not
  float query_scale;               // includes log2(e)
  float key_scale;                 // of keys and values: a power of two
};

enum class HalfKind { kStore, kAdd, kGelu, kGelu2, kGeluRows, kHeads, kText, kGated, kBest, kTurned };

struct HalfGemmParams {
  const uint16_t* x;  // halves
  int64_t x_plane;
  int32_t x_groups;  // of 8 rows
  const uint8_t* w;  // tiles of F16
  int64_t w_plane;   // bytes
  int32_t w_groups;  // of 8 outputs
  int32_t stages;    // of 64 columns
  int32_t passes;    // 1: first pieces; 2: and the second ones of x; 3: and those of the weights
  int32_t rows, outputs;
  int32_t row_tiles, output_tiles;
  const float* sums;  // finish_*: the products themselves [rows][sums_stride]
  int32_t sums_stride;
  float factor;       // of the products, before the bias
  const float* bias;  // [outputs] or null
  float* out;         // kStore, kAdd: [rows][out_stride]
  const float* base;  // kAdd: what it is added to, [rows][out_stride]
  int32_t out_stride;
  RowsOut to;         // kGelu: one plane of halves, kGelu2: two, kGeluRows: floats
  VisionHeads heads;  // kHeads
  // kText: out, as ProductParams has it; a row's columns in `splits` parts of their own, [splits][rows][out_stride].
  int32_t group_step, group_first, splits;
  int32_t ring;   // core_short: stages that are on their way
  Rounded gated;  // kGated: gelu of the even groups times the odd ones, as cores
  // kBest: rows of logits, of which only the best are kept (order_of_logit), and all of them where `out` is not null.
  uint64_t* best;
};

// Queries, keys and values of heads of 256 in one kernel with what becomes of them before attention: a block has a head of 128 rows.
struct CoreHeadsParams {
  HalfGemmParams product;
  HeadsParams heads;
  int32_t first_head;  // of the product's outputs
};

// Weights of a file as tiles of halves, times `scale` (a power of two); F32 as two planes.
struct HalfRepackParams {
  const uint8_t* file;
  uint8_t* tiles;
  int64_t plane;  // bytes
  TileType type;  // F32, F16, BF16
  int32_t planes;
  int32_t first_row, rows;  // of the piece: where its first row goes
  int32_t columns, chunks;
  int64_t row_bytes;
  float scale;
};

// The largest length of a row of a matrix, as the bits of a float.
struct RowLengthParams {
  TileMatrix matrix;
  uint32_t* largest;
};

struct PatchesParams {
  const float* pixels;  // [3][size][size]
  int32_t size, patch, side, columns;
  RowsOut to;
};

struct LayerNormParams {
  const float* x;  // [rows][width]
  const float *weight, *bias;
  int32_t rows, width;
  float epsilon;
  RowsOut to;
};

// Squares of patches become tokens: their mean, then an RMS norm.
struct PoolParams {
  const float* x;  // [side * side][width]
  const float* weight;
  int32_t side, token_side, width;
  RowsOut to;
};

struct VisionAttendParams {
  VisionHeads heads;
  int32_t head_size;
  float value_scale;  // of the sums of values
  RowsOut to;
};

// Every kernel of the tower: name and parameters.
#define CARAT_CUDA_VISION_KERNELS(X)       \
  X(half_wide_kStore, HalfGemmParams)      \
  X(half_wide_kAdd, HalfGemmParams)        \
  X(half_wide_kGelu, HalfGemmParams)       \
  X(half_wide_kGelu2, HalfGemmParams)      \
  X(half_wide_kGeluRows, HalfGemmParams)   \
  X(half_wide_kHeads, HalfGemmParams)      \
  X(half_narrow_kStore, HalfGemmParams)    \
  X(half_narrow_kAdd, HalfGemmParams)      \
  X(half_narrow_kGelu, HalfGemmParams)     \
  X(half_narrow_kGelu2, HalfGemmParams)    \
  X(half_narrow_kGeluRows, HalfGemmParams) \
  X(half_narrow_kHeads, HalfGemmParams)    \
  X(finish_kAdd, HalfGemmParams)           \
  X(finish_kGelu, HalfGemmParams)          \
  X(finish_kGelu2, HalfGemmParams)         \
  X(finish_kGeluRows, HalfGemmParams)      \
  X(finish_kHeads, HalfGemmParams)         \
  X(finish_kStore, HalfGemmParams)         \
  X(half_repack, HalfRepackParams)         \
  X(row_length, RowLengthParams)           \
  X(vision_patches, PatchesParams)         \
  X(vision_norm, LayerNormParams)          \
  X(vision_pool, PoolParams)               \
  X(vision_attend_1, VisionAttendParams)   \
  X(vision_attend_2, VisionAttendParams)   \
  X(vision_wide_1, VisionAttendParams)     \
  X(vision_wide_2, VisionAttendParams)

// And those of the text model: bf16, blocks of 256, 128 or 64 rows; pairs: of 128 rows, where all have one piece, or must have the sums of 256; thin: those,
// of fewer outputs.
#define CARAT_CUDA_CORE_KERNELS(X)    \
  X(core_text_256, HalfGemmParams)    \
  X(core_text_pairs, HalfGemmParams)  \
  X(core_text_thin, HalfGemmParams)   \
  X(core_heads, CoreHeadsParams)      \
  X(core_text_128, HalfGemmParams)    \
  X(core_text_64, HalfGemmParams)     \
  X(core_best_256, HalfGemmParams)    \
  X(core_best_128, HalfGemmParams)    \
  X(core_best_pairs, HalfGemmParams)  \
  X(core_best_64, HalfGemmParams)     \
  X(core_gated_256, HalfGemmParams)   \
  X(core_gated_pairs, HalfGemmParams) \
  X(core_gated_128, HalfGemmParams)   \
  X(core_slim_64, HalfGemmParams)     \
  X(core_split_64_4, HalfGemmParams)  \
  X(core_split_64_8, HalfGemmParams)  \
  X(core_split_128_4, HalfGemmParams) \
  X(core_split_128_6, HalfGemmParams) \
  X(core_slim_128, HalfGemmParams)    \
  X(core_broad_128, HalfGemmParams)   \
  X(core_gated_64, HalfGemmParams)

}  // namespace carat::cuda
