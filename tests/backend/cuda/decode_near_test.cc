// Attention of one row that sees the first keys of its sequence: each block for itself (decode_near.cuh) leaves what blocks that tell
// each other scores leave (decode_attention.cuh), whose forwards are compared with cpu/portable.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "backend/cuda/emulator.h"
//
#include "backend/cuda/device/decode_row.cuh"

namespace carat {
namespace {

using namespace cuda;

struct AttentionParams1 {
  DecodeParams p;
  const DecodeLayer* layer;
};

// A row's attention alone: what the row's product left is there.
template <bool kNear>
void attention_alone(const void* params) {
  const auto& [p, from] = *static_cast<const AttentionParams1*>(params);
  const Decode d{p};
  const DecodeLayer& layer = *from;
  for (int i = this_thread(); i < p.head_size; i += kDecodeThreads) {
    d.cosines()[i] = 0.25f * static_cast<float>(i % 7 - 3);
    d.sines()[i] = 0.125f * static_cast<float>(i % 11 - 5);
  }
  if (this_thread() == 0) d.begin_rounds();
  block_barrier();
  const bool works = this_warp() < kWorkers;
  if (this_warp() == kWorkers + kFinishers) return;
  DecodeKeys keys{p.pages[layer.global], p.page_count[layer.global], p.row.position, 0, true};
  if constexpr (kNear) {
    const DecodeNear<1> near{d, layer, keys.position, p.epoch};
    works ? near.attend() : near.heads();
  } else if (works) {
    decode_scores<1, false>(d, layer, keys, p.epoch);
    decode_few_values<1>(d, layer, keys, p.epoch);
  } else {
    decode_heads<1, false>(d, layer, keys, p.epoch);
  }
}

constexpr int kHeads = 4, kSize = 256, kPages = 5;
constexpr uint16_t kNotANumber = 0x7fff;

struct Left {
  std::vector<uint64_t> attended;
  std::vector<uint16_t> keys, values;
  bool operator==(const Left&) const = default;
};

template <bool kNear>
Left attended(int position, bool global, int blocks) {
  const std::vector<int32_t> pages[2] = {{3, 1}, {4, 2}};
  std::mt19937 random(static_cast<unsigned>(position));
  const auto some = [&] { return static_cast<float>(static_cast<int>(random() % 2001) - 1000) * 1e-3f; };
  std::vector<float> norms(2 * kSize);
  for (float& one : norms) one = 1.0f + some();
  std::vector<uint64_t> qkv((kHeads + 2) * kSize), scores(kHeads * 640);
  Left left;
  left.attended.resize(kHeads * kSize);
  left.keys.assign(kPages * kKeysPerPage * kSize, kNotANumber);
  left.values = left.keys;
  for (int key = 0; key < position; ++key) {  // what comes behind was never written
    const int page = pages[global ? 1 : 0][static_cast<size_t>(key / kKeysPerPage)], slot = key % kKeysPerPage;
    for (int e = 0; e < kSize; ++e) {
      const auto at = static_cast<size_t>(page * kKeysPerPage * kSize);
      left.keys[at + static_cast<size_t>((e / 8 * kKeysPerPage + slot) * 8 + e % 8)] = float_to_half(some());
      left.values[at + static_cast<size_t>(slot * kSize + e)] = float_to_half(some());
    }
  }
  DecodeLayer layer{};
  layer.q_norm = norms.data();
  layer.k_norm = norms.data() + kSize;
  layer.k_cache = left.keys.data();
  layer.v_cache = left.values.data();
  layer.global = global ? 1 : 0;
  DecodeParams p{};
  p.epoch = 7;
  for (uint64_t& word : qkv) word = word_of(3.0f * some(), p.epoch);
  p.row.position = position;
  for (size_t kind = 0; kind < 2; ++kind) {
    p.pages[kind] = pages[kind].data();
    p.page_count[kind] = 2;
    std::copy_n(pages[kind].begin(), kNearPages, p.near_pages[kind]);
  }
  p.qkv = qkv.data();
  p.scores = scores.data();
  p.score_stride = 640;
  p.attended = left.attended.data();
  p.heads = kHeads;
  p.kv_heads = 1;
  p.head_size = kSize;
  p.query_scale = 0.0625f;
  p.epsilon = 1e-6f;
  const int32_t x_bytes[3] = {decode_input_bytes(9, 1), decode_input_bytes(8, 1), decode_input_bytes(54, 1)};
  p.layout = decode_layout(1152, kHeads, kSize, kPartItems, x_bytes, 0, 0);
  const AttentionParams1 params{p, &layer};
  emulator::launch(&attention_alone<kNear>, {static_cast<unsigned>(blocks), 1, 1}, {kDecodeThreads, 1, 1},
                   static_cast<size_t>(p.layout.bytes), &params, true, 1);
  return left;
}

// Groups and pages that are begun, full, and left; each block has its own columns, or two of them after each other.
TEST(DecodeNear, LeavesWhatBlocksTogetherLeave) {
  constexpr int kWindow = 512, kColumns = kHeads * kSize;
  for (const int position : {0, 1, 5, 31, 32, 33, 63, 64, 65, 66, 90, 95, 96, 97, 126, 127}) {
    ASSERT_TRUE(decode_near_keys(position, kWindow, kColumns, 66));
    const bool global = position % 2 == 0;
    const Left expected = attended<false>(position, global, 66);
    EXPECT_EQ(expected.attended[0] >> 32, 7u);
    EXPECT_TRUE(std::isfinite(bits_to_float(static_cast<uint32_t>(expected.attended[0]))));
    for (const int blocks : {66, 132}) {
      if (blocks == 132 && position % 32 != 1) continue;
      EXPECT_TRUE(attended<true>(position, global, blocks) == expected) << "position " << position;
    }
  }
  EXPECT_FALSE(decode_near_keys(kNearKeys, kWindow, kColumns, 132));
  EXPECT_FALSE(decode_near_keys(100, 100, kColumns, 132));
  EXPECT_FALSE(decode_near_keys(0, kWindow, kColumns, 60));
}

}  // namespace
}  // namespace carat
