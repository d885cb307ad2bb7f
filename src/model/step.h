// The vocabulary between engine and backends: one step is a ragged batch of rows of several sequences, and the outputs
// that are wanted of them.
//   T rows in this step   S sequences   O outputs   V vocabulary   P tokens per KV page   D width
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "sampling/sampler.h"

namespace carat {

inline constexpr int32_t kPageTokens = 64;  // P

// What a row begins with: a token id, or one of these with an index in the low bits.
inline constexpr int32_t kFromSlot = 1 << 30;  // kFromSlot | s: the token that slot s sampled in an earlier step
inline constexpr int32_t kImageRow = 1 << 29;  // kImageRow | i: row i of Step::embeddings

struct Row {
  int32_t token = 0;
  // The last position that it attends to: its own (text), its image's end (images), its sequence's end (embeddings of
  // texts). What lies beyond its own must be among the rows of the same sequence in this step.
  int32_t sees_until = 0;
};

// The rows [begin, end) of one sequence, at positions past .. past + (end - begin) - 1.
// A key of position p lies on global layers in page global_pages[p / P], on sliding layers in page
// local_pages[(p / P) % local_pages.size()]: a ring is a short page table. Page numbers are the engine's; the same
// number names a page in every layer of its kind. The ring must hold W + rows of this step, rounded up to pages, plus
// one, or the whole sequence. Sequences may share pages that none of them writes in this step.
struct SeqRows {
  int32_t begin = 0;
  int32_t end = 0;
  int32_t past = 0;
  std::span<const int32_t> global_pages = {};
  std::span<const int32_t> local_pages = {};
};

enum class OutputKind : uint8_t {
  kSample,  // the token that follows the row
  kLogits,  // [V]
  kHidden,  // [D], after the final norm
};

struct Output {
  int32_t row = 0;
  OutputKind kind = OutputKind::kSample;
  int32_t slot = -1;       // kSample: where the token is left for rows of later steps; -1: nowhere
  SampleSpec sample = {};  // kSample
};

// The content of one page, copied to another of its kind on every layer, before any row is computed.
struct PageCopy {
  bool global = false;
  int32_t from = 0;
  int32_t to = 0;
};

struct Step {
  std::span<const Row> rows;               // [T]
  std::span<const SeqRows> seqs;           // [S], covering the T rows in order
  std::span<const Output> outputs;         // [O], ascending by row; a row may have several
  std::span<const float> embeddings = {};  // [N][D] hidden states that rows may begin with, already scaled
  std::span<const PageCopy> copies = {};
};

// In the order of the step's outputs of each kind.
struct StepResult {
  std::span<const Sampled> samples;
  std::span<const std::span<const float>> logits;  // [V] each
  std::span<const std::span<const float>> hidden;  // [D] each
};

// Stage names: the same in code, taps, timings and docs.
enum class Stage : uint8_t { kEmbed, kQkv, kAttn, kAttnOut, kGateUp, kDown, kLogits, kSample };
inline constexpr int kStageCount = 8;
inline constexpr std::string_view kStageNames[kStageCount] = {"embed",   "qkv",  "attn",   "attn_out",
                                                              "gate_up", "down", "logits", "sample"};

}  // namespace carat
