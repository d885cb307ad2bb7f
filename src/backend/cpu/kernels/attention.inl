// Attention of a tile of query rows (tokens x the heads that share a kv head) over the paged KV cache.
//
// Keys are taken in splits of 256 positions, cut at multiples of 256 whatever the row, batch or chunk: inside a split a
// plain softmax, between splits the usual rescaling, in order of position. So a row gets the same bits alone, in a
// chunk, or with its splits computed by different workers. Nothing is read that the row does not see, but for keys of
// its group of sixteen, whose scores are dropped.
//   k_cache: f16 [page][K][P / 16][E][16 keys]     v_cache: f16 [page][K][P][E]
//   a running result: [0] largest score so far (M), [1] sum of exp(score - M), [16..16+E) values weighted by exp(score
//   - M)

static constexpr int kPage = 64;  // P of model/step.h (checked in cpu_backend.cc)

static inline int64_t page_of(const RowPlan& plan, LayerKind kind, int64_t position) {
  const int64_t page = position / kPage;
  return plan.pages[kind][kind == kGlobal ? page : page % plan.page_count[kind]];
}

// The keys of a position's group of sixteen, and the position's values.
static inline const uint16_t* keys_at(const LayerPack& layer, const RowPlan& plan, int64_t kv_head, int64_t head_size,
                                      int64_t position) {
  return layer.k_cache + page_of(plan, layer.kind, position) * layer.page_stride +
         (kv_head * kPage + position % kPage / 16 * 16) * head_size;
}
static inline const uint16_t* values_at(const LayerPack& layer, const RowPlan& plan, int64_t kv_head, int64_t head_size,
                                        int64_t position) {
  return layer.v_cache + page_of(plan, layer.kind, position) * layer.page_stride +
         (kv_head * kPage + position % kPage) * head_size;
}

// Asks the memory for the line at `at` and steps over it: the loops over keys and values each read half a line or a
// whole one meanwhile, so that what comes next streams in beside them.
[[gnu::always_inline]] static inline void ask_line(const uint16_t*& at) {
  __builtin_prefetch(at);
  at += 32;
}

static inline int64_t first_key(const ModelPack& m, LayerKind kind, int64_t position) {
  return kind == kGlobal ? 0 : most(0, position - m.window + 1);
}

// To f16. Finite numbers are clamped to its range, the others become NaN.
static inline void store_half(uint16_t* out, F x) {
  const F clamped = f_max(f_set(-65504.0f), f_min(f_set(65504.0f), x));
  f_store_f16(out, f_fma(x, f_set(0.0f), clamped));
}

static void store_key_value(const ModelPack& m, const LayerPack& layer, const RowPlan& plan, int64_t kv_head,
                            const float* key, const float* value) {
  const int64_t E = m.head_size;
  const int64_t slot = plan.position % kPage;
  const int64_t base = page_of(plan, layer.kind, plan.position) * layer.page_stride + kv_head * kPage * E;
  uint16_t* k = layer.k_cache + base + slot / 16 * E * 16 + slot % 16;
  uint16_t* v = layer.v_cache + base + slot * E;
  uint16_t halves[16];
  for (int64_t e = 0; e < E; e += 16) {
    store_half(halves, f_load(key + e));
    for (int64_t i = 0; i < 16; ++i) k[(e + i) * 16] = halves[i];
    store_half(v + e, f_load(value + e));
  }
}

// scores[i * kSplitKeys + 0..15] = q[i] . key for sixteen keys side by side and kRows query rows at `q[i]`: a chain for
// each quarter of the head, kChains of them side by side. Where kAsks, the memory is asked for as much at `ahead`.
template <int kRows, int kChains, bool kAsks>
static inline void score_keys(const uint16_t* keys, const float* const* q, int64_t head_size, const uint16_t* ahead,
                              float* scores) {
  const int64_t quarter = head_size / 4;
  F total[kRows];
  for (int i = 0; i < kRows; ++i) total[i] = f_set(-0.0f);  // the first chain is the total
  for (int first = 0; first < 4; first += kChains) {
    F acc[kChains][kRows];
    for (int chain = 0; chain < kChains; ++chain) {
      for (int i = 0; i < kRows; ++i) acc[chain][i] = f_set(0.0f);
    }
    for (int64_t e = first * quarter; e < (first + 1) * quarter; ++e) {
      for (int chain = 0; chain < kChains; ++chain) {
        if (kAsks && (kChains == 1 ? e : chain) % 2 == 0) ask_line(ahead);
        const int64_t at = e + chain * quarter;
        const F k = f_load_f16(keys + at * 16);
        for (int i = 0; i < kRows; ++i) acc[chain][i] = f_fma(k, f_set(q[i][at]), acc[chain][i]);
      }
    }
    for (int chain = 0; chain < kChains; ++chain) {
      for (int i = 0; i < kRows; ++i) total[i] = f_add(total[i], acc[chain][i]);
    }
  }
  for (int i = 0; i < kRows; ++i) f_store(scores + i * kSplitKeys, total[i]);
}

// Scores of keys [lo, hi) of a split to weights exp(score - largest), zero in the rest of the groups of sixteen that
// were computed. Returns the largest score, NaN where one is not finite, and the sum of weights: 32 partial sums, key i
// in i % 32, then their halves.
static inline void softmax_split(float* scores, int64_t lo, int64_t hi, float* largest, float* sum) {
  const int64_t group_lo = lo / 16 * 16;
  const int64_t group_hi = (hi + 15) / 16 * 16;
  const float lowest = -3.402823466e+38f;
  for (int64_t i = group_lo; i < lo; ++i) scores[i] = lowest;
  for (int64_t i = hi; i < group_hi; ++i) scores[i] = lowest;
  F top = f_set(lowest);
  F poison = f_set(0.0f);
  for (int64_t i = group_lo; i < group_hi; i += 16) {
    const F s = f_load(scores + i);
    top = f_max(s, top);
    poison = f_fma(s, f_set(0.0f), poison);
  }
  *largest = f_largest(top) + f_sum(poison);
  const F shift = f_set(*largest);
  for (int64_t i = group_lo; i < group_hi; i += 16) f_store(scores + i, f_exp(f_sub(f_load(scores + i), shift)));
  for (int64_t i = group_lo; i < lo; ++i) scores[i] = 0.0f;
  for (int64_t i = hi; i < group_hi; ++i) scores[i] = 0.0f;
  F part[2] = {f_set(0.0f), f_set(0.0f)};
  for (int64_t i = group_lo; i < group_hi; i += 16) part[i / 16 % 2] = f_add(part[i / 16 % 2], f_load(scores + i));
  *sum = f_sum(f_add(part[0], part[1]));
}

// Keys of a split, counted from its begin.
struct KeyRange {
  int64_t lo, hi;
};

// out[i][e] += sum over keys of weights[i][key] * v[key][e] for the keys of one group of 32: a chain from zero. Its
// values start at `v`, its first key is `group`. The memory is asked for as much at `ahead`.
template <int kRows, int kVectors>
static inline void weigh_group(const uint16_t* v, int64_t head_size, int64_t group, KeyRange keys, const float* weights,
                               const uint16_t* ahead, float* out) {
  v += (keys.lo - group) * head_size;
  for (int64_t e = 0; e < head_size; e += 16 * kVectors) {
    F acc[kVectors][kRows];
    for (auto& vector : acc) {
      for (F& a : vector) a = f_set(0.0f);
    }
    const uint16_t* at = v + e;
    for (int64_t key = keys.lo; key < keys.hi; ++key, at += head_size) {
      if (kVectors == 2 || key % 2 == 0) ask_line(ahead);
      for (int j = 0; j < kVectors; ++j) {
        const F value = f_load_f16(at + 16 * j);
        for (int i = 0; i < kRows; ++i) acc[j][i] = f_fma(f_set(weights[i * kSplitKeys + key]), value, acc[j][i]);
      }
    }
    for (int j = 0; j < kVectors; ++j) {
      for (int i = 0; i < kRows; ++i) {
        float* o = out + i * head_size + e + 16 * j;
        f_store(o, f_add(f_load(o), acc[j][i]));
      }
    }
  }
}

// out[i][e] = sum over the keys that row i sees of weights[i][key] * v[key][e]: groups of 32 keys, added in order. What
// is read after them lies at `next`, if it is known.
template <int kRows>
static inline void weigh_values(const ModelPack& m, const LayerPack& layer, const RowPlan& plan, int64_t kv_head,
                                int64_t split_begin, const KeyRange* seen, const float* weights, const uint16_t* next,
                                float* out) {
  const int64_t E = m.head_size;
  for (int64_t e = 0; e < kRows * E; e += 16) f_store(out + e, f_set(-0.0f));  // the first group is the total
  KeyRange all = seen[0];
  for (int i = 1; i < kRows; ++i) all = {least(all.lo, seen[i].lo), most(all.hi, seen[i].hi)};
  for (int64_t group = all.lo / 32 * 32; group < all.hi; group += 32) {
    const int64_t position = split_begin + group;
    const uint16_t* v = values_at(layer, plan, kv_head, E, position);
    const uint16_t* ahead = group + 32 < all.hi ? values_at(layer, plan, kv_head, E, position + 32) : next;
    if (ahead == nullptr) ahead = v;
    const KeyRange keys = {most(group, all.lo), least(group + 32, all.hi)};
    bool same = true;
    for (int i = 0; i < kRows; ++i) same = same && seen[i].lo <= keys.lo && seen[i].hi >= keys.hi;
    if (same) {
      weigh_group<kRows, kValueVectors>(v, E, group, keys, weights, ahead, out);
      continue;
    }
    for (int i = 0; i < kRows; ++i) {
      const KeyRange own = {most(keys.lo, seen[i].lo), least(keys.hi, seen[i].hi)};
      if (own.lo >= own.hi) continue;
      weigh_group<1, kValueVectors>(v, E, group, own, weights + i * kSplitKeys, ahead, out + i * E);
    }
  }
}

// Takes a split's result into the running one; `running[1] == 0` means that nothing is there yet.
static inline void combine(float* running, float largest, float sum, const float* values, int64_t head_size) {
  if (running[1] == 0.0f) {
    running[0] = largest;
    running[1] = sum;
    for (int64_t e = 0; e < head_size; e += 16) f_store(running + 16 + e, f_load(values + e));
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

// A row's heads are done: their values into `attended`, rounded if the product that follows wants integers.
static inline void finish_heads(const ForwardContext& c, const LayerPack& layer, int64_t row, int64_t kv_head,
                                const float* running, bool round) {
  const ModelPack& m = *c.model;
  const int64_t E = m.head_size;
  const int64_t group = m.heads / m.kv_heads;
  float* out = c.attended.values + (row * m.heads + kv_head * group) * E;
  for (int64_t head = 0; head < group; ++head, running += E + 16) {
    const F sum = f_set(running[1]);
    for (int64_t e = 0; e < E; e += 16) f_store(out + head * E + e, f_div(f_load(running + 16 + e), sum));
  }
  if (!round) return;
  const Activations attended = for_readers(c.attended, reads(layer.attn_out), c.rows);
  round_columns(attended, row, kv_head * group * E, (kv_head + 1) * group * E);
}

// Puts together what the split tasks of a row and kv head left in `partials`.
static void combine_splits(const ForwardContext& c, LayerKind kind, const AttnTask& task, int64_t splits,
                           float* running) {
  const ModelPack& m = *c.model;
  const int64_t E = m.head_size;
  const int64_t group = m.heads / m.kv_heads;
  for (int64_t head = 0; head < group; ++head, running += E + 16) {
    running[1] = 0.0f;
    for (int64_t split = 0; split < splits; ++split) {
      const int64_t slot = c.plan[task.row].partial[kind] + split * m.heads + task.kv_head * group + head;
      const float* part = c.partials + slot * (E + 16);
      combine(running, part[0], part[1], part + 16, E);
    }
  }
}

// The keys that this worker reads after a task's split: those of the next one or, where splits are tasks, of its next
// task, if nobody takes that before.
static inline const uint16_t* keys_after(const ForwardContext& c, const LayerPack& layer, const AttnTask& task,
                                         int64_t split) {
  const int64_t heads = c.model->kv_heads;
  const int64_t next = split * heads + task.kv_head + (task.partial ? team_active(*c.team) : heads);
  const RowPlan& plan = c.plan[task.row + task.rows - 1];
  if (next / heads > plan.last_key / kSplitKeys) return nullptr;
  return keys_at(layer, plan, next % heads, c.model->head_size, next / heads * kSplitKeys);
}

// Runs a task. Its rows' results go to `attended`; where splits are separate tasks to `partials`, and whoever finishes
// the last of them puts them together.
static void attend(const ForwardContext& c, const LayerPack& layer, const AttnTask& task, bool round,
                   const Scratch& scratch) {
  const ModelPack& m = *c.model;
  const int64_t E = m.head_size;
  const int group = m.heads / m.kv_heads;
  const int count = task.rows * group;  // query rows of the tile, token-major: i = token * group + head
  const LayerKind kind = layer.kind;
  const RowPlan* plan = c.plan + task.row;
  const float* q[kTileRows];
  for (int i = 0; i < count; ++i) {
    q[i] = c.query + ((task.row + i / group) * m.heads + task.kv_head * group + i % group) * E;
    scratch.running[i * (E + 16) + 1] = 0.0f;
  }
  const int64_t first_split = first_key(m, kind, plan[0].position) / kSplitKeys;
  for (int64_t split = task.split_begin; split < task.split_end; ++split) {
    const int64_t begin = split * kSplitKeys;
    KeyRange seen[kTileRows];
    KeyRange all = {kSplitKeys, 0};
    for (int i = 0; i < count; ++i) {
      const RowPlan& row = plan[i / group];
      seen[i] = {most(0, first_key(m, kind, row.position) - begin), least(kSplitKeys, row.last_key + 1 - begin)};
      if (seen[i].lo >= seen[i].hi) seen[i] = {0, 0};
      if (seen[i].lo < seen[i].hi) all = {least(all.lo, seen[i].lo), most(all.hi, seen[i].hi)};
    }
    for (int64_t key = all.lo / 16 * 16; key < all.hi; key += 16) {
      const uint16_t* keys = keys_at(layer, plan[0], task.kv_head, E, begin + key);
      // Two groups ahead, after the last one the first values.
      const int64_t further = key + 32 - (all.hi + 15) / 16 * 16;
      const uint16_t* ahead = further < 0
                                  ? keys_at(layer, plan[0], task.kv_head, E, begin + key + 32)
                                  : values_at(layer, plan[0], task.kv_head, E, begin + all.lo / 32 * 32 + further);
      float* scores = scratch.scores + key;
      int i = 0;
      if (count >= 4) score_keys<4, kScoreChains, true>(keys, q, E, ahead, scores), i = 4;
      for (; i + 4 <= count; i += 4) score_keys<4, kScoreChains, false>(keys, q + i, E, keys, scores + i * kSplitKeys);
      for (; i + 2 <= count; i += 2) score_keys<2, 2, true>(keys, q + i, E, ahead, scores + i * kSplitKeys);
      for (; i < count; ++i) score_keys<1, 4, true>(keys, q + i, E, ahead, scores + i * kSplitKeys);
    }
    float largest[kTileRows], sum[kTileRows];
    for (int i = 0; i < count; ++i) {
      sum[i] = 0.0f;  // this row sees nothing of the split
      if (seen[i].hi == 0) continue;
      softmax_split(scratch.scores + i * kSplitKeys, seen[i].lo, seen[i].hi, &largest[i], &sum[i]);
    }
    const uint16_t* next = keys_after(c, layer, task, split);
    int i = 0;
    for (; i + 4 <= count; i += 4) {
      weigh_values<4>(m, layer, plan[0], task.kv_head, begin, seen + i, scratch.scores + i * kSplitKeys, next,
                      scratch.part + i * E);
    }
    for (; i < count; ++i) {
      weigh_values<1>(m, layer, plan[0], task.kv_head, begin, seen + i, scratch.scores + i * kSplitKeys, next,
                      scratch.part + i * E);
    }
    for (i = 0; i < count; ++i) {
      if (sum[i] == 0.0f) continue;
      float* running = scratch.running + i * (E + 16);
      if (task.partial) {  // one token: a slot per split and head
        running = c.partials +
                  (plan[0].partial[kind] + (split - first_split) * m.heads + task.kv_head * group + i) * (E + 16);
        running[1] = 0.0f;
      }
      combine(running, largest[i], sum[i], scratch.part + i * E, E);
    }
  }
  if (task.partial) {
    const auto splits = static_cast<int32_t>(plan[0].last_key / kSplitKeys - first_split + 1);
    int32_t* arrived = c.arrived + task.row * m.kv_heads + task.kv_head;
    if (__atomic_add_fetch(arrived, 1, __ATOMIC_ACQ_REL) != splits) return;
    __atomic_store_n(arrived, 0, __ATOMIC_RELAXED);  // for the next layer, a barrier away
    combine_splits(c, kind, task, splits, scratch.running);
  }
  for (int64_t row = 0; row < task.rows; ++row) {
    finish_heads(c, layer, task.row + row, task.kv_head, scratch.running + row * group * (E + 16), round);
  }
}
