// The vocabulary between engine and backends: one step is a ragged batch of rows of several sequences.
//   T rows in this step   S sequences   L rows that want logits   V vocabulary   P tokens per KV page
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace carat {

inline constexpr int32_t kPageTokens = 64;  // P

// The rows [begin, end) of one sequence, at positions past .. past + (end - begin) - 1.
// A key of position p lies on global layers in page global_pages[p / P], on sliding layers in page
// local_pages[(p / P) % local_pages.size()]: a ring is a short page table. Page numbers are the engine's; the same
// number names a page in every layer of its kind. The ring must hold W + rows of this step, rounded up to pages, plus
// one.
struct SeqRows {
  int32_t begin = 0;
  int32_t end = 0;
  int32_t past = 0;
  std::span<const int32_t> global_pages;
  std::span<const int32_t> local_pages;
};

struct Step {
  std::span<const int32_t> tokens;       // [T]
  std::span<const SeqRows> seqs;         // [S], covering the T rows in order
  std::span<const int32_t> logits_rows;  // [L] ascending: rows whose logits are wanted
};

// Stage names: the same in code, taps, timings and docs.
enum class Stage : uint8_t { kEmbed, kQkv, kAttn, kAttnOut, kGateUp, kDown, kLogits };
inline constexpr int kStageCount = 7;
inline constexpr std::string_view kStageNames[kStageCount] = {"embed",   "qkv",  "attn",  "attn_out",
                                                              "gate_up", "down", "logits"};

}  // namespace carat
