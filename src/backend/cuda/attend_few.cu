// attend_one.cu's work where rows are few, from sm_90 on: the 256 keys of a split by four blocks (a cluster), a page each, so that
// four times as many multiprocessors look at them. Each finds the scores and weighed values of its page; the largest score, the weights
// and the values of a quarter of the columns go to the block that adds them up.
//   A thread is a key and a quarter of the head, then a warp 32 keys and 64 columns. Arithmetic and order are those of attention.cu.
#include "backend/cuda/device/attention.cuh"
#include "backend/cuda/device/heads.cuh"

namespace carat::cuda {

inline constexpr int kQuarter = kOneHead / 4;

CARAT_KERNEL_OF_CLUSTERS_BESIDE(attend_few, OneParams, kOneThreads, kAttendBlocks, 2) {
  constexpr int E = kOneHead, kLoads = kQuarter / 8, kGroupKeys = 32;
  const AttentionParams& a = p.attention;
  const HeadsParams& h = p.heads;
  auto* query = reinterpret_cast<float*>(shared_memory());    // [E]
  float* chains = query + E;                                  // [4 quarters][64 keys]
  float* weights = chains + 4 * kKeysPerPage;             // [256 keys]
  float* grouped = weights + kSplit;                          // [8 groups of 32 keys][own 64 columns]
  int* tops = reinterpret_cast<int*>(grouped + 8 * kQuarter);  // [4 blocks]
  auto* own_key = reinterpret_cast<uint16_t*>(tops + 4);
  uint16_t* own_value = own_key + E;
  next_may_begin();
  const int rank = static_cast<int>(blockIdx.x) % kAttendBlocks, head = static_cast<int>(blockIdx.y);
  const int item = static_cast<int>(blockIdx.x) / kAttendBlocks, row = a.items[item];
  const int group = a.heads / a.kv_heads, kv_head = head / group;
  const RowInfo info = a.rows[row];
  const int32_t* pages = a.pages + a.begin[info.seq];
  const int page_count = a.count[info.seq];
  const int i = thread_index(), lane = lane_index(), warp = warp_index();
  const int split = first_key(a, info.position) / kSplit + static_cast<int>(blockIdx.z);
  if (split > info.position / kSplit) return;
  const Seen seen = seen_of(a, info, split);
  const int own = info.position - split * kSplit;  // where the row's own key is in the split, if there
  const int quarter = warp / 2, of_page = warp % 2 * 32 + lane;
  const int half = warp / 4, columns = warp % 4;  // of a page's keys, of the head's quarters
  const int first = rank * kKeysPerPage, at = first + of_page, begin = first + half * kGroupKeys;
  const int64_t page = page_of(pages, page_count, split * kSplit + first);
  Words4 key[kLoads];
  uint32_t v[kGroupKeys];
  const uint16_t* keys = a.k_cache + ((page * a.kv_heads + kv_head) * E + quarter * kQuarter) * kKeysPerPage + of_page * 8;
  CARAT_UNROLL for (int k = 0; k < kLoads; ++k) {
    key[k] = {};
    if (at >= seen.lo && at < seen.hi && at != own) key[k] = load<Words4>(keys + k * 8 * kKeysPerPage);
  }
  const uint16_t* values = a.v_cache + ((page * a.kv_heads + kv_head) * kKeysPerPage + half * kGroupKeys) * E + columns * kQuarter + 2 * lane;
  CARAT_UNROLL for (int k = 0; k < kGroupKeys; ++k) {
    v[k] = 0;
    if (begin + k >= seen.lo && begin + k < seen.hi && begin + k != own) v[k] = load<uint32_t>(values + k * E);
  }
  cluster_come();
  const bool here = own < kSplit && own / kKeysPerPage == rank;  // the row's own key, so this page is where it belongs
  previous_wait();
  {
    const float* qkv = h.qkv + static_cast<int64_t>(row) * (h.heads + 2 * h.kv_heads) * E;
    const float *key_from = qkv + (h.heads + kv_head) * E, *value_from = key_from + h.kv_heads * E;
    const int64_t angle = static_cast<int64_t>(row) * (E / 2);
    // Query and key by the same code: what a block runs only once, it waits for.
    if (warp == 0 || (warp == 1 && here)) {
      const bool is_key = warp == 1;
      turn_head(is_key ? key_from : qkv + head * E, is_key ? h.k_norm : h.q_norm, h.cosines + angle, h.sines + angle, E, h.epsilon,
                [&](int e, float x) {
                  if (is_key) {
                    own_key[e] = float_to_half(clamp_to_half(x));
                  } else {
                    query[e] = x * h.query_scale;
                  }
                });
    } else if (warp == 2 && here) {
      float value[E / 32];
      CARAT_UNROLL for (int k = 0; k < E / 32; ++k) value[k] = value_from[lane + 32 * k];
      CARAT_UNROLL for (int k = 0; k < E / 32; ++k) own_value[lane + 32 * k] = float_to_half(clamp_to_half(value[k]));
    }
  }
  block_barrier();
  float chain = 0.0f;
  CARAT_UNROLL for (int k = 0; k < kLoads; ++k) {
    if (at == own) key[k] = load<Words4>(own_key + quarter * kQuarter + k * 8);
    const uint32_t words[4] = {key[k].x, key[k].y, key[k].z, key[k].w};
    const float* q = query + quarter * kQuarter + k * 8;
    CARAT_UNROLL for (int j = 0; j < 4; ++j) {
      chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j])), q[2 * j], chain);
      chain = fma_rn(half_to_float(static_cast<uint16_t>(words[j] >> 16)), q[2 * j + 1], chain);
    }
  }
  chains[quarter * kKeysPerPage + of_page] = chain;
  block_barrier();

  // Every warp has all of the block's scores, a lane those of two keys.
  float score[2], weight[2];
  uint32_t top = 0;
  const auto visible = [&](int k) { return first + k * 32 + lane >= seen.lo && first + k * 32 + lane < seen.hi; };
  CARAT_UNROLL for (int k = 0; k < 2; ++k) {
    const float* of = chains + k * 32 + lane;
    const float sum = ((of[0] + of[kKeysPerPage]) + of[2 * kKeysPerPage]) + of[3 * kKeysPerPage];
    score[k] = visible(k) ? sum : -bits_to_float(0x7f800000u);
    const uint32_t order = order_of_score(score[k]);
    top = order > top ? order : top;
  }
  top = warp_max(top);
  cluster_meet();  // all blocks are there, to be written to
  if (warp == 0 && lane < kAttendBlocks) cluster_store(tops + rank, lane, static_cast<int>(top));
  cluster_barrier();
  CARAT_UNROLL for (int k = 0; k < kAttendBlocks; ++k) top = static_cast<uint32_t>(tops[k]) > top ? static_cast<uint32_t>(tops[k]) : top;
  const float largest = score_of_order(top);
  CARAT_UNROLL for (int k = 0; k < 2; ++k) weight[k] = visible(k) ? exp_exact(score[k] - largest) : 0.0f;
  const float of_half = half == 0 ? weight[0] : weight[1];
  cluster_store(weights + begin + lane, columns, of_half);
  if (own >= begin && own < begin + kGroupKeys) {
    CARAT_UNROLL for (int k = 0; k < kGroupKeys; ++k) {
      if (begin + k == own) v[k] = load<uint32_t>(own_value + columns * kQuarter + 2 * lane);
    }
  }
  float weighed[2] = {0.0f, 0.0f};
  CARAT_UNROLL for (int k = 0; k < kGroupKeys; ++k) {  // keys that the row does not see have a weight of 0 and no value
    const float w = from_lane(of_half, k);
    weighed[0] = fma_rn(w, half_to_float(static_cast<uint16_t>(v[k])), weighed[0]);
    weighed[1] = fma_rn(w, half_to_float(static_cast<uint16_t>(v[k] >> 16)), weighed[1]);
  }
  const uint64_t both = static_cast<uint64_t>(float_bits(weighed[1])) << 32 | float_bits(weighed[0]);
  cluster_store(reinterpret_cast<uint64_t*>(grouped + (rank * 2 + half) * kQuarter) + lane, columns, both);
  cluster_barrier();

  if (i >= kQuarter) {  // who has nothing to add leaves the key and the value
    const int piece = i - kQuarter, slot = info.position % kKeysPerPage;
    const int64_t base = (page * a.kv_heads + kv_head) * kKeysPerPage * E;
    if (!here || head % group != 0 || piece >= 2 * E / 8) return;
    if (piece < E / 8) {
      *reinterpret_cast<Words4*>(h.k_cache + base + (piece * kKeysPerPage + slot) * 8) = load<Words4>(own_key + piece * 8);
    } else {
      const int at_value = (piece - E / 8) * 8;
      *reinterpret_cast<Words4*>(h.v_cache + base + slot * E + at_value) = load<Words4>(own_value + at_value);
    }
    return;
  }
  float sum = 0.0f, total = grouped[i];
  CARAT_UNROLL for (int k = 0; k < kSplit / 32; ++k) sum = sum + weights[lane + 32 * k];
  sum = warp_halves(sum);
  CARAT_UNROLL for (int k = 1; k < 8; ++k) total = total + grouped[k * kQuarter + i];
  const int column = rank * kQuarter + i;
  if (a.splits == 0) return attended(a, row, head * E + column, div_rn(total, sum));
  float* out = a.partials + ((static_cast<int64_t>(item) * a.heads + head) * a.splits + static_cast<int>(blockIdx.z)) * (E + 2);
  out[2 + column] = total;
  if (column == 0) {
    out[0] = largest;
    out[1] = sum;
  }
}

}  // namespace carat::cuda
