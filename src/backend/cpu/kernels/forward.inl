// The forward pass of one step, run by every worker of the team: stages in the order of the paper, a barrier after
// each.
//   embed | per layer: qkv | attn | attn_out | gate_up | down | logits
// Whoever computed a block of a row rounds it. What needs whole rows (norms, rope) is done by the last worker that
// reaches the barrier where rows are few, and in a stage of its own where they are many.

// A row's norm or rope takes about as long as a barrier of a few workers.
static constexpr int64_t kFewRows = 4;

// How the items of a stage are taken: each worker begins with so many of its own, and then claims chunk after chunk.
struct Shares {
  int64_t own, chunk;
};

struct Worker {
  const ForwardContext& c;
  const Scratch& scratch;
  int index;
  int64_t stage;

  // Runs body(begin, end) for the items of the stage that this worker takes.
  template <class Body>
  void each(int64_t count, const Shares& shares, Body body) {
    const int64_t claimed = shares.own * team_active(*c.team);  // where the claims begin
    int64_t begin = shares.own * index;
    int64_t size = shares.own;
    while (begin < count) {
      body(begin, least(begin + size, count));
      begin = claimed < count ? claimed + team_claim(*c.team, stage, shares.chunk, count - claimed) : count;
      size = shares.chunk;
    }
  }
  template <class Body>
  void each(int64_t count, Body body) {
    each(count, {1, 1}, body);
  }
  void next(const Wanted& wanted = {}) { stage = team_next_stage(*c.team, stage, nullptr, nullptr, wanted); }

  // Ends a stage, and with it runs body(row) for every row of what the stage computed.
  template <class Body>
  void next_with_rows(int64_t rows, const Wanted& wanted, Body body) {
    if (rows > kFewRows) {
      next();
      each(rows, [&](int64_t row, int64_t) { body(row); });
      next(wanted);
      return;
    }
    struct Last {
      Body& body;
      int64_t rows;
      static void run(void* self) {
        const auto& last = *static_cast<Last*>(self);
        for (int64_t row = 0; row < last.rows; ++row) last.body(row);
      }
    } last{body, rows};
    stage = team_next_stage(*c.team, stage, &Last::run, &last, wanted);
  }
  void done(int name, int64_t layer) const {
    if (index == 0 && c.stage_done != nullptr) c.stage_done(c.user, name, static_cast<int>(layer));
  }
};

enum { kStageEmbed, kStageQkv, kStageAttn, kStageAttnOut, kStageGateUp, kStageDown, kStageLogits };

// Panels that a worker takes at a time. Three quarters of what an even division gives it are one long read; the rest goes
// to whoever is done, a core that has two thirds of the others' speed included. In whole pairs where two panels make a
// block, or share what is loaded of several rows.
static inline Shares panel_shares(const Worker& w, int64_t panels, bool pairs) {
  const int64_t workers = team_active(*w.c.team);
  const int64_t unit = pairs ? 2 : 1;
  const int64_t chunk = most(unit, least(64, panels / (8 * workers)) / unit * unit);
  return {most(chunk, panels * 3 / (4 * workers) / unit * unit), chunk};
}
static inline Shares products_shares(const Worker& w, int64_t panels, int64_t rows) {
  return panel_shares(w, panels, rows > 1);
}

static int64_t all_panels(const PackedMatrix* const* matrices, int count) {
  int64_t panels = 0;
  for (int i = 0; i < count; ++i) panels += matrices[i]->panels();
  return panels;
}

// Panels [begin, end) of a matrix, of which there may be fewer; of much, the beginning.
static inline Wanted::Range some_panels(const PackedMatrix& m, int64_t begin, int64_t end) {
  constexpr int64_t kMost = 128 << 10;
  if (begin >= m.panels()) return {};
  const int64_t bytes = (least(end, m.panels()) - begin) * static_cast<int64_t>(m.panel_bytes);
  return {m.panel(begin), m.panel(begin) + least(kMost, bytes)};
}

// The worker's own share of products(), and of a layer's gate and up.
static Wanted::Range first_products(const Worker& w, const PackedMatrix* const* matrices, int count, int64_t rows) {
  const int64_t own = products_shares(w, all_panels(matrices, count), rows).own;
  int64_t begin = own * w.index;
  for (int i = 0; i < count; ++i) {
    if (begin < matrices[i]->panels()) return some_panels(*matrices[i], begin, begin + own);
    begin -= matrices[i]->panels();
  }
  return {};
}
static Wanted::Range first_gated(const Worker& w, const PackedMatrix& m) {
  const int64_t own = panel_shares(w, m.panels(), true).own;
  return some_panels(m, own * w.index, own * (w.index + 1));
}

// The keys and values of a task's first split.
static Wanted first_keys(const ForwardContext& c, const LayerPack& layer, const AttnTask& task) {
  static_assert(kSplitKeys / kPage == 4);
  const RowPlan& row = c.plan[task.row];
  const int64_t E = c.model->head_size;
  Wanted wanted;
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t position = int64_t{task.split_begin} * kSplitKeys + i * kPage;
    if (position > row.last_key) break;
    const int64_t at = page_of(row, layer.kind, position) * layer.page_stride + task.kv_head * kPage * E;
    const int64_t keys = least(kPage, row.last_key + 1 - position);
    const auto* k = reinterpret_cast<const uint8_t*>(layer.k_cache + at);
    const auto* v = reinterpret_cast<const uint8_t*>(layer.v_cache + at);
    wanted.pairs[i / 2][i % 2] = {k, k + (keys + 15) / 16 * 16 * E * 2};
    wanted.pairs[2 + i / 2][i % 2] = {v, v + keys * E * 2};
  }
  return wanted;
}

// Rows [row, ...) of activations; `row` is a multiple of 16, as parts of rows are.
static Activations rows_from(Activations x, int64_t row) {
  x.values += row * x.columns;
  x.ints += row * x.columns;
  x.scales += row * (x.columns / kBlock);
  x.sums += row * (x.columns / 16);
  if (x.factors != nullptr) x.factors += row;
  if (x.reads_tiles) x.tiles = static_cast<uint8_t*>(x.tiles) + row / 16 * (x.columns / kBlock) * kTiledBlockBytes;
  return x;
}

// In how many parts the rows of a product are taken, where its chunks of panels do not go evenly into the workers: each
// part expands the panels anew, which takes as long as some six rows.
static int64_t row_parts(const Worker& w, int64_t chunks, int64_t rows) {
  constexpr int64_t kExpanding = 6, kLeastRows = 64;
  const int64_t workers = team_active(*w.c.team);
  const auto cost = [&](int64_t parts) {
    return (chunks * parts + workers - 1) / workers * (rows / parts + kExpanding);
  };
  int64_t best = 1;
  for (int64_t parts = 2; parts <= 4 && rows / parts >= kLeastRows; ++parts) {
    if (cost(parts) < cost(best)) best = parts;
  }
  return best;
}

// Asks for the activations of a single row at once, before a stage reads them: other workers have just written them.
static void ask_row(const Activations& x, int64_t rows) {
  if (rows != 1) return;
  for (int64_t i = 0; i < x.columns; i += 32) __builtin_prefetch(x.ints + i);
  for (int64_t i = 0; i < x.columns / kBlock; i += 16) __builtin_prefetch(x.scales + i);
  for (int64_t i = 0; i < x.columns / 16; i += 16) __builtin_prefetch(x.sums + i);
}

static void products(Worker& w, const PackedMatrix* const* matrices, float* const* outs, int count,
                     const Activations& x, int64_t rows) {
  const int64_t panels = all_panels(matrices, count);
  const auto compute = [&](int64_t begin, int64_t end, int64_t row, int64_t row_count) {
    const Activations from = rows_from(x, row);
    int64_t first = 0;  // of matrix i among all panels
    for (int i = 0; i < count; ++i) {
      const PackedMatrix& m = *matrices[i];
      const int64_t last = first + m.panels();
      if (begin < last && end > first) {
        matmul(m, from, row_count, outs[i] + row * m.rows, m.rows, most(begin, first) - first, least(end, last) - first,
               w.scratch);
      }
      first = last;
    }
  };
  ask_row(x, rows);
  const Shares shares = products_shares(w, panels, rows);
  const int64_t chunks = (panels + shares.chunk - 1) / shares.chunk;
  const int64_t parts = row_parts(w, chunks, rows);
  if (parts == 1) return w.each(panels, shares, [&](int64_t begin, int64_t end) { compute(begin, end, 0, rows); });
  w.each(chunks * parts, [&](int64_t item, int64_t) {
    const int64_t begin = item / parts * shares.chunk;
    const int64_t part = item % parts;
    const int64_t row = rows * part / parts / 16 * 16;
    const int64_t end = part + 1 == parts ? rows : rows * (part + 1) / parts / 16 * 16;
    compute(begin, least(begin + shares.chunk, panels), row, end - row);
  });
}

static inline Reads qkv_reads(const LayerPack& layer) { return reads(layer.q) | reads(layer.k) | reads(layer.v); }
static inline Reads gated_reads(const LayerPack& layer) { return reads(layer.gate) | reads(layer.up); }

// q and k: per-head norm, rope, q scaled; k and v into the cache.
static void prepare_heads(const ForwardContext& c, const LayerPack& layer, int64_t row) {
  const ModelPack& m = *c.model;
  const int64_t E = m.head_size;
  const float* cosine = c.rope_cos[layer.kind] + row * E / 2;
  const float* sine = c.rope_sin[layer.kind] + row * E / 2;
  for (int64_t head = 0; head < m.heads; ++head) {
    float* q = c.query + (row * m.heads + head) * E;
    rms_norm(q, layer.q_norm, q, E, m.norm_epsilon);
    rope(q, cosine, sine, E);
    for (int64_t e = 0; e < E; e += 16) f_store(q + e, f_mul(f_load(q + e), f_set(m.query_scale)));
  }
  for (int64_t head = 0; head < m.kv_heads; ++head) {
    float* k = c.key + (row * m.kv_heads + head) * E;
    rms_norm(k, layer.k_norm, k, E, m.norm_epsilon);
    rope(k, cosine, sine, E);
    store_key_value(m, layer, c.plan[row], head, k, c.value + (row * m.kv_heads + head) * E);
  }
}

// Closes half of a layer: hidden += norm(projected).
static void add_projected(const ForwardContext& c, int64_t row, const float* norm) {
  const int64_t D = c.model->width;
  add_normed(c.hidden + row * D, c.projected + row * D, norm, D, c.model->norm_epsilon);
}

static void next_input(const ForwardContext& c, int64_t row, const float* norm, Reads reads) {
  norm_input(c.hidden + row * c.model->width, norm, for_readers(c.norm, reads, c.rows), row, c.model->norm_epsilon,
             reads);
}

// What follows layer `index`.
static Wanted::Range first_of_next(const Worker& w, int64_t index) {
  const ModelPack& m = *w.c.model;
  if (index + 1 == m.layers) {
    const PackedMatrix* head[] = {&m.head};
    return w.c.logits_count == 0 ? Wanted::Range{} : first_products(w, head, 1, w.c.logits_count);
  }
  const LayerPack& layer = m.layer[index + 1];
  const PackedMatrix* qkv[] = {&layer.q, &layer.k, &layer.v};
  return first_products(w, qkv, 3, w.c.rows);
}

static void forward_layer(Worker& w, int64_t index) {
  const ForwardContext& c = w.c;
  const ModelPack& m = *c.model;
  const LayerPack& layer = m.layer[index];
  const int64_t T = c.rows;

  const PackedMatrix* qkv[] = {&layer.q, &layer.k, &layer.v};
  const PackedMatrix* attn_out[] = {&layer.attn_out};
  const PackedMatrix* down[] = {&layer.down};
  float* qkv_out[] = {c.query, c.key, c.value};
  float* projected[] = {c.projected};
  const Wanted::Range gate = first_gated(w, layer.gate);
  const Wanted::Range up = first_gated(w, layer.up);

  const AttnTask* tasks = c.tasks[layer.kind];
  const int64_t task_count = c.task_count[layer.kind];
  const bool round = reads(layer.attn_out).ints;
  // A single task of a single row is done by whoever has just prepared it, and counts as qkv: nobody can help, and a
  // barrier with what one core has written for another takes longer.
  const bool alone = T == 1 && task_count == 1;
  const Wanted after_attention = {{{first_products(w, attn_out, 1, T)}, {gate, up}}};

  products(w, qkv, qkv_out, 3, for_readers(c.norm, qkv_reads(layer), T), T);
  w.next_with_rows(T, w.index < task_count && !alone ? first_keys(c, layer, tasks[w.index]) : after_attention,
                   [&](int64_t row) {
                     prepare_heads(c, layer, row);
                     if (alone) attend(c, layer, tasks[0], round, w.scratch);
                   });
  w.done(kStageQkv, index);

  if (!alone) {
    w.each(task_count, [&](int64_t task, int64_t) { attend(c, layer, tasks[task], round, w.scratch); });
    w.next(after_attention);
  }
  w.done(kStageAttn, index);

  products(w, attn_out, projected, 1, for_readers(c.attended, reads(layer.attn_out), T), T);
  w.next_with_rows(T, {{{gate, up}}}, [&](int64_t row) {
    add_projected(c, row, layer.post_attn_norm);
    next_input(c, row, layer.ffn_norm, gated_reads(layer));
  });
  w.done(kStageAttnOut, index);

  ask_row(c.norm, T);
  const Activations normed = for_readers(c.norm, gated_reads(layer), T);
  const Activations gated = for_readers(c.gated, reads(layer.down), T);
  w.each(layer.gate.panels(), panel_shares(w, layer.gate.panels(), true), [&](int64_t begin, int64_t end) {
    gated_matmul(layer.gate, layer.up, normed, T, gated, reads(layer.down), begin, end, w.scratch);
  });
  w.next({{{first_products(w, down, 1, T)}}});
  w.done(kStageGateUp, index);

  products(w, down, projected, 1, gated, T);
  w.next_with_rows(T, {{{first_of_next(w, index)}}}, [&](int64_t row) {
    add_projected(c, row, layer.post_ffn_norm);
    if (index + 1 < m.layers) next_input(c, row, m.layer[index + 1].attn_norm, qkv_reads(m.layer[index + 1]));
  });
  w.done(kStageDown, index);
}

static void embed_row(const ForwardContext& c, int64_t row) {
  const ModelPack& m = *c.model;
  const int64_t D = m.width;
  float* hidden = c.hidden + row * D;
  const int32_t token = c.plan[row].token;
  if ((token & kImageRow) != 0) {
    const float* embedding = c.embeddings + int64_t{token & (kImageRow - 1)} * D;
    __builtin_memcpy(hidden, embedding, static_cast<size_t>(D) * sizeof(float));
  } else {
    unpack_row(m.embedding, token, hidden);
    for (int64_t i = 0; i < D; i += 16) f_store(hidden + i, f_mul(f_load(hidden + i), f_set(m.embedding_scale)));
  }
  next_input(c, row, m.layer[0].attn_norm, qkv_reads(m.layer[0]));
}

static void forward(const ForwardContext& c, int index) {
  Worker w{c, c.scratch[index], index, 0};
  const ModelPack& m = *c.model;
  const int64_t D = m.width;

  w.each(c.rows, [&](int64_t row, int64_t) { embed_row(c, row); });
  w.next();
  w.done(kStageEmbed, 0);

  for (int64_t layer = 0; layer < m.layers; ++layer) forward_layer(w, layer);

  if (c.logits_count + c.hidden_count == 0) return;
  const Activations last = for_readers(c.last, reads(m.head), c.logits_count);
  w.each(c.logits_count + c.hidden_count, [&](int64_t item, int64_t) {
    if (item < c.logits_count) {
      norm_input(c.hidden + c.logits_rows[item] * D, m.final_norm, last, item, m.norm_epsilon, reads(m.head));
    } else {
      const int64_t row = item - c.logits_count;
      rms_norm(c.hidden + c.hidden_rows[row] * D, m.final_norm, c.hidden_out + row * D, D, m.norm_epsilon);
    }
  });
  if (c.logits_count == 0) return;
  w.next({{{first_of_next(w, m.layers - 1)}}});
  const PackedMatrix* head[] = {&m.head};
  float* logits[] = {c.logits};
  products(w, head, logits, 1, last, c.logits_count);
  w.next();
  w.done(kStageLogits, 0);
}
