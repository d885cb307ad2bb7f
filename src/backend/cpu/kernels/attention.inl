// Attention of a tile of query rows (tokens x the heads that share a kv head) over the paged KV cache.
//
// Keys are taken in splits of 256 positions, cut at multiples of 256 whatever the row, batch or chunk: inside a split a
// plain softmax, between splits the usual rescaling, in order of position. That order is the whole definition, so a row
// gets the same bits alone, in a chunk, or with its splits computed by different workers.
//   k_cache: f16 [page][K][P / 16][E][16 keys]     v_cache: f16 [page][K][P][E]
//   a running result: [0] largest score so far (M), [1] sum of exp(score - M), [16..16+E) values weighted by exp(score
//   - M)

static constexpr int kPage = 64;  // P of model/step.h (checked in cpu_backend.cc)

static inline int64_t page_of(const RowPlan& plan, int kind, int64_t position) {
  const int64_t page = position / kPage;
  return plan.pages[kind][kind == 1 ? page : page % plan.page_count[kind]];
}

static inline int64_t first_key(const ModelPack& m, int kind, int64_t position) {
  return kind == 1 ? 0 : most(0, position - m.window + 1);
}

static void store_key_value(const ModelPack& m, const LayerPack& layer, const RowPlan& plan, int64_t kv_head,
                            const float* key, const float* value) {
  const int64_t E = m.head_size;
  const F largest = f_set(65504.0f);
  const F smallest = f_set(-65504.0f);
  const int64_t slot = plan.position % kPage;
  const int64_t base = (page_of(plan, layer.global, plan.position) * m.kv_heads + kv_head) * kPage * E;
  uint16_t* k = layer.k_cache + base + slot / 16 * E * 16 + slot % 16;
  uint16_t* v = layer.v_cache + base + slot * E;
  uint16_t halves[16];
  for (int64_t e = 0; e < E; e += 16) {
    f_store_f16(halves, f_max(f_min(f_load(key + e), largest), smallest));
    for (int64_t i = 0; i < 16; ++i) k[(e + i) * 16] = halves[i];
    f_store_f16(v + e, f_max(f_min(f_load(value + e), largest), smallest));
  }
}

// scores[i * kSplitKeys + 0..15] = q[i] . key for sixteen keys side by side and kRows query rows, query rows at `q[i]`.
template <int kRows>
static inline void score_keys(const uint16_t* keys, const float* const* q, int64_t head_size, float* scores) {
  F acc[kRows];
  for (int i = 0; i < kRows; ++i) acc[i] = f_set(0.0f);
  for (int64_t e = 0; e < head_size; ++e) {
    const F k = f_load_f16(keys + e * 16);
    for (int i = 0; i < kRows; ++i) acc[i] = f_fma(k, f_set(q[i][e]), acc[i]);
  }
  for (int i = 0; i < kRows; ++i) f_store(scores + i * kSplitKeys, acc[i]);
}

// Scores of keys [lo, hi) (of one split that begins at `begin`) to weights exp(score - largest), zero outside [lo, hi)
// of the groups of sixteen that were computed, [group_lo, group_hi). Returns the largest score and the sum of weights.
static inline void softmax_split(float* scores, int64_t lo, int64_t hi, int64_t group_lo, int64_t group_hi,
                                 float* largest, float* sum) {
  const float lowest = -__builtin_inff();
  for (int64_t i = group_lo; i < lo; ++i) scores[i] = lowest;
  for (int64_t i = hi; i < group_hi; ++i) scores[i] = lowest;
  F top = f_set(lowest);
  for (int64_t i = group_lo; i < group_hi; i += 16) top = f_max(f_load(scores + i), top);
  *largest = f_largest(top);
  const F shift = f_set(*largest);
  for (int64_t i = group_lo; i < group_hi; i += 16) f_store(scores + i, f_exp(f_sub(f_load(scores + i), shift)));
  for (int64_t i = group_lo; i < lo; ++i) scores[i] = 0.0f;
  for (int64_t i = hi; i < group_hi; ++i) scores[i] = 0.0f;
  F total = f_set(0.0f);
  for (int64_t i = group_lo; i < group_hi; i += 16) total = f_add(total, f_load(scores + i));
  *sum = f_sum(total);
}

// out[i][e] = sum over keys of weights[i][key] * v[key][e], key after key, for kRows rows.
template <int kRows>
static inline void weigh_values(const ModelPack& m, const LayerPack& layer, const RowPlan& plan, int64_t kv_head,
                                int64_t split_begin, int64_t lo, int64_t hi, const float* weights, float* out) {
  const int64_t E = m.head_size;
  for (int64_t e = 0; e < E; e += 16) {
    F acc[kRows];
    for (int i = 0; i < kRows; ++i) acc[i] = f_set(0.0f);
    for (int64_t key = lo; key < hi;) {
      const int64_t page_end = least(hi, (key / kPage + 1) * kPage);
      const uint16_t* v =
          layer.v_cache + ((page_of(plan, layer.global, key) * m.kv_heads + kv_head) * kPage + key % kPage) * E + e;
      const float* w = weights + (key - split_begin);
      for (; key < page_end; ++key, v += E, ++w) {
        const F value = f_load_f16(v);
        for (int i = 0; i < kRows; ++i) acc[i] = f_fma(f_set(w[i * kSplitKeys]), value, acc[i]);
      }
    }
    for (int i = 0; i < kRows; ++i) f_store(out + i * E + e, acc[i]);
  }
}

// Takes a split's result into the running one; `running[1] == 0` means that nothing is there yet.
static inline void combine(float* running, float largest, float sum, const float* values, int64_t head_size) {
  if (running[1] == 0.0f) {
    running[0] = largest;
    running[1] = sum;
    for (int64_t e = 0; e < head_size; ++e) running[16 + e] = values[e];
    return;
  }
  const float top = largest > running[0] ? largest : running[0];
  const F old_factor = f_exp(f_set(running[0] - top));
  const F new_factor = f_exp(f_set(largest - top));
  float lane[16];
  f_store(lane, f_fma(f_set(running[1]), old_factor, f_mul(f_set(sum), new_factor)));
  running[0] = top;
  running[1] = lane[0];
  for (int64_t e = 0; e < head_size; e += 16) {
    const F scaled = f_mul(f_load(values + e), new_factor);
    f_store(running + 16 + e, f_fma(f_load(running + 16 + e), old_factor, scaled));
  }
}

static inline void finish_row(const float* running, float* out, int64_t head_size) {
  const F sum = f_set(running[1]);
  for (int64_t e = 0; e < head_size; e += 16) f_store(out + e, f_div(f_load(running + 16 + e), sum));
}

// Runs a task; its rows' results go to attended.values, or to `partials` where its splits are separate tasks.
static void attend(const ForwardContext& c, const LayerPack& layer, const AttnTask& task, const Scratch& scratch) {
  const ModelPack& m = *c.model;
  const int64_t E = m.head_size;
  const int group = m.heads / m.kv_heads;
  const int count = task.rows * group;  // query rows of the tile, token-major: i = token * group + head
  const int kind = layer.global;
  const RowPlan* plan = c.plan + task.row;
  const float* q[kTileRows];
  for (int i = 0; i < count; ++i) {
    q[i] = c.query + ((task.row + i / group) * m.heads + task.kv_head * group + i % group) * E;
    scratch.running[i * (E + 16) + 1] = 0.0f;
  }
  int64_t last_key = 0;  // of any row
  for (int r = 0; r < task.rows; ++r) last_key = most(last_key, plan[r].last_key);
  for (int64_t split = task.split_begin; split < task.split_end; ++split) {
    const int64_t begin = split * kSplitKeys;
    const int64_t lo = most(begin, first_key(m, kind, plan[0].position));
    const int64_t hi = least(begin + kSplitKeys, last_key + 1);
    for (int64_t key = lo / 16 * 16; key < hi; key += 16) {
      const uint16_t* keys =
          layer.k_cache +
          ((page_of(plan[0], kind, key) * m.kv_heads + task.kv_head) * kPage + key % kPage / 16 * 16) * E;
      float* scores = scratch.scores + (key - begin);
      int i = 0;
      for (; i + 4 <= count; i += 4) score_keys<4>(keys, q + i, E, scores + i * kSplitKeys);
      for (; i + 2 <= count; i += 2) score_keys<2>(keys, q + i, E, scores + i * kSplitKeys);
      for (; i < count; ++i) score_keys<1>(keys, q + i, E, scores + i * kSplitKeys);
    }
    const int64_t group_lo = lo / 16 * 16 - begin;
    const int64_t group_hi = (hi + 15) / 16 * 16 - begin;
    float largest[kTileRows], sum[kTileRows];
    for (int i = 0; i < count; ++i) {
      const int64_t position = plan[i / group].position;
      const int64_t row_lo = most(begin, first_key(m, kind, position)) - begin;
      const int64_t row_hi = least(begin + kSplitKeys, plan[i / group].last_key + 1) - begin;
      float* scores = scratch.scores + i * kSplitKeys;
      if (row_lo < row_hi) {
        softmax_split(scores, row_lo, row_hi, group_lo, group_hi, &largest[i], &sum[i]);
      } else {  // this row sees nothing of the split
        for (int64_t k = group_lo; k < group_hi; ++k) scores[k] = 0.0f;
        sum[i] = 0.0f;
      }
    }
    int i = 0;
    for (; i + 4 <= count; i += 4) {
      weigh_values<4>(m, layer, plan[0], task.kv_head, begin, lo, hi, scratch.scores + i * kSplitKeys,
                      scratch.part + i * E);
    }
    for (; i < count; ++i) {
      weigh_values<1>(m, layer, plan[0], task.kv_head, begin, lo, hi, scratch.scores + i * kSplitKeys,
                      scratch.part + i * E);
    }
    for (i = 0; i < count; ++i) {
      if (sum[i] == 0.0f) continue;
      float* running = scratch.running + i * (E + 16);
      if (task.partial) {  // one token: a slot per split and head
        const int64_t first_split = first_key(m, kind, plan[0].position) / kSplitKeys;
        running = c.partials +
                  (plan[0].partial[kind] + (split - first_split) * m.heads + task.kv_head * group + i) * (E + 16);
        running[1] = 0.0f;
      }
      combine(running, largest[i], sum[i], scratch.part + i * E, E);
    }
  }
  if (task.partial) return;
  for (int i = 0; i < count; ++i) {
    float* out = c.attended.values + ((task.row + i / group) * m.heads + task.kv_head * group + i % group) * E;
    finish_row(scratch.running + i * (E + 16), out, E);
  }
}

// Puts together what the split tasks of a row left in `partials`.
static void combine_splits(const ForwardContext& c, int kind, int64_t row, const Scratch& scratch) {
  const ModelPack& m = *c.model;
  const RowPlan& plan = c.plan[row];
  const int64_t E = m.head_size;
  const int64_t splits = plan.last_key / kSplitKeys - first_key(m, kind, plan.position) / kSplitKeys + 1;
  for (int64_t head = 0; head < m.heads; ++head) {
    scratch.running[1] = 0.0f;
    for (int64_t split = 0; split < splits; ++split) {
      const float* part = c.partials + (plan.partial[kind] + split * m.heads + head) * (E + 16);
      combine(scratch.running, part[0], part[1], part + 16, E);
    }
    finish_row(scratch.running, c.attended.values + (row * m.heads + head) * E, E);
  }
}
