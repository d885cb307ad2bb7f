// What an ISA offers, and the plain structs that it works on. isa_*.cc each compile the same .inl files with their own
// target flags into their own namespace; nothing but this table crosses over, so no object can leak instructions that
// the machine lacks. That is also why these structs are plain and use nothing of the standard library.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/packed.h"
#include "base/wanted.h"

namespace carat {
class Team;
}

namespace carat::cpu {

// Rows of activations as the products read them. Each block of 32 is rounded once, to 15 bits with its own scale.
struct Activations {
  float* values = nullptr;  // [T][columns] float32: what 16- and 32-bit weights multiply
  // [T][columns]: what quantised weights multiply, in the order that the ISA's products read; unused where
  // columns % 32 != 0.
  int16_t* ints = nullptr;
  float* scales = nullptr;  // [T][columns / 32]
  int32_t* sums = nullptr;  // [T][columns / 16]: sums of 16 neighbouring ints, for offsets and minima
  int64_t columns = 0;
  float* factors = nullptr;  // [T]: multiplies the products of rounded rows, where the norm is still to be applied
  // The same integers as tiles (kernels/layout_tiles.inl), and whether whoever reads these activations reads them.
  void* tiles = nullptr;  // [T / 16, rounded up][columns / 32] TiledBlock
  bool reads_tiles = false;
};

// Working memory of one worker.
struct Scratch {
  float* sums = nullptr;     // [2][max rows][16]: products with one panel, or with two that make a block
  float* sums_2 = nullptr;   // [max rows][16]: the same for a second matrix (gate and up together)
  uint8_t* panel = nullptr;  // kPanelScratchBytes: a piece of a panel, expanded to 16-bit integers and float scales
  float* scores = nullptr;   // [kTileRows][kSplitKeys]
  float* part = nullptr;     // [kTileRows][E]: one split's weighted values
  float* running = nullptr;  // [kTileRows][E + 16]: combined so far; see attention.inl
};

inline constexpr int kChunkColumns =
    512;  // columns expanded at a time in prefill: 16 KiB of 16-bit weights, half of L1
inline constexpr int kPanelScratchBytes = kChunkColumns * kPanelRows * 2 + 2 * (kChunkColumns / 16) * kPanelRows * 4;
inline constexpr int kTiledBlockBytes = 2 * 1024 + 2 * 64;  // of 16 rows and 32 columns
inline constexpr int kTileRows = 16;    // query rows (tokens x heads that share a kv head) that read a key together
inline constexpr int kSplitKeys = 256;  // attention is split at multiples of this, always

inline constexpr int32_t kImageRow = 1 << 29;  // token = kImageRow | i: row i of `embeddings`

// What a layer attends to. Also the index of what rows and steps have one of each kind of.
enum LayerKind : int32_t { kSliding, kGlobal };
inline constexpr LayerKind kLayerKinds[] = {kSliding, kGlobal};

// What a row is, what it sees and where that lies. It attends to keys [0, last_key] on global layers, to
// [position - W + 1, last_key] on sliding ones; last_key is its own position or, up to the end of its image or of its
// sequence, a later one of the same step. Page tables as in model/step.h; check_step has checked them.
struct RowPlan {
  int32_t token;  // an id of the vocabulary, or kImageRow | i
  int32_t position;
  int32_t last_key;
  const int32_t* pages[2];  // [0] sliding layers, [1] global layers
  int32_t page_count[2];    // the table is a ring of this many pages
  int64_t partial[2];       // first slot of the row in `partials` where its splits are separate tasks, else -1
};

// Rows [row, row + rows) of one sequence against the keys of splits [split_begin, split_end), one kv head.
struct AttnTask {
  int32_t row, rows, kv_head, split_begin, split_end;
  bool partial;  // leave the split's result in `partials`, for whoever finishes the row's last split
};

struct LayerPack {
  const float *attn_norm, *q_norm, *k_norm, *post_attn_norm, *ffn_norm, *post_ffn_norm;
  PackedMatrix q, k, v, attn_out, gate, up, down;
  uint16_t* k_cache;  // f16 [page][K][P / 16][E][16 keys]: sixteen keys side by side, so that lanes are keys
  uint16_t* v_cache;  // f16 [page][K][P][E]
  // Halves from a page to the next: a page's keys and values of all layers of a kind lie together, so that a cache takes
  // memory (huge pages, too) only as its pages are used.
  int64_t page_stride;
  LayerKind kind;
};

struct ModelPack {
  int32_t layers, width, ffn_width, heads, kv_heads, head_size, vocabulary, window;
  float norm_epsilon, query_scale, embedding_scale;
  const LayerPack* layer;
  PackedMatrix embedding, head;
  const float* final_norm;
};

// One step, as every worker sees it. Buffers are [T][...] row-major.
struct ForwardContext {
  const ModelPack* model;
  Team* team;
  Scratch* scratch;          // [workers]
  int64_t rows;              // T
  const RowPlan* plan;       // [T]
  const AttnTask* tasks[2];  // sliding, global
  int64_t task_count[2];
  const float* embeddings;     // [N][D]: the rows of images, taken as they are (ids are scaled)
  const int32_t* logits_rows;  // [L]
  int64_t logits_count;
  const int32_t* hidden_rows;  // [M]: rows whose state after the final norm is wanted
  int64_t hidden_count;
  float *rope_cos[2], *rope_sin[2];  // [T][E / 2], filled by the caller
  float *hidden, *projected;         // [T][D]
  float *query, *key, *value;        // [T][H*E], [T][K*E] twice
  float* partials;                   // [slot][E + 16]: attention of one split
  int32_t* arrived;                  // [T][K]: split tasks that are done, where they are separate; zero in between
  Activations norm, attended, gated,
      last;           // inputs of qkv and gate_up [T][D], attn_out [T][H*E], down [T][F], logits [L][D]
  float* logits;      // [L][V]
  float* hidden_out;  // [M][D]
  void (*stage_done)(void* user, int stage, int layer);  // worker 0, after the barrier that ends the stage
  void* user;
};

struct VisionContext;

inline constexpr int kPeakOperations = 12 * 16 * 2;

struct Kernels {
  const char* name;
  // Packs panels [begin, end) of a tensor: rows of the file's blocks in, panels out. Returns the first row that has a
  // scale, a minimum or an element that is NaN or infinity, -1 where none has.
  int64_t (*pack)(const PackedMatrix& matrix, const uint8_t* rows, size_t row_bytes, uint8_t* out, int64_t begin,
                  int64_t end);
  // The whole forward pass of a step, run by every worker of the team.
  void (*forward)(const ForwardContext& context, int worker);
  // The pieces, for tests and micro-benchmarks.
  void (*matmul)(const PackedMatrix& matrix, const Activations& x, int64_t rows, float* out, int64_t out_stride,
                 int64_t panel_begin, int64_t panel_end, const Scratch& scratch);
  void (*round_row)(const Activations& x, int64_t row);                  // values -> ints, scales, sums
  void (*rounded_row)(const Activations& x, int64_t row, int16_t* out);  // the ints of a row, as numbers
  void (*rms_norm)(const float* x, const float* weight, float* out, int64_t count, float epsilon);
  void (*gelu_mul)(const float* gate, const float* up, float* out, int64_t count);
  void (*exp)(const float* x, float* out, int64_t count);
  // One row of a packed matrix back to float32.
  void (*unpack_row)(const PackedMatrix& matrix, int64_t row, float* out);
  // Keys and values of one row and kv head into the cache; a task's attention, rounded if asked for.
  void (*store_key_value)(const ModelPack& model, const LayerPack& layer, const RowPlan& plan, int64_t kv_head,
                          const float* key, const float* value);
  void (*attend)(const ForwardContext& context, const LayerPack& layer, const AttnTask& task, bool round,
                 const Scratch& scratch);
  // The vision tower's forward pass of one image (vision_pack.h), run by every worker of the team.
  void (*vision)(const VisionContext& context, int worker);
  // The most that the arithmetic units can do: so many rounds of kPeakOperations multiplications and additions.
  float (*multiply_add)(int64_t rounds);
  // Whether products of many rows with a type of weights are made of tiles.
  bool (*has_tiles)(DType type);
};

const Kernels& portable_kernels();
#if defined(__x86_64__)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& amx_kernels();
#elif defined(__aarch64__)
const Kernels& neon_kernels();
const Kernels& neon_i8mm_kernels();
#endif

// Thin doors to the team, so that ISA objects instantiate nothing of the standard library.
int64_t team_claim(Team& team, int64_t stage, int64_t chunk, int64_t count);
int64_t team_next_stage(Team& team, int64_t stage, void (*last)(void*), void* argument, const Wanted& wanted);
int team_active(const Team& team);

}  // namespace carat::cpu
