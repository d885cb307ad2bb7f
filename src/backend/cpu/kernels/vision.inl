// The vision tower's forward pass for one image, run by every worker: two barriers a layer, because everything but
// attention is a matter of single patches. Attention's scores exist for kVisionQueryRows patches at a time.
//
//   norm        mean and mean of squared distances: 16 partial sums, element i in i % 16, then halves
//   products    16- and 32-bit weights: a chain of fma from the bias, column after column; quantised ones as all.inl
//               says, the bias added last
//   attention   q * query_scale;  score: a chain of fma from 0;  exp(score - largest);  values: a chain of fma from 0
//               over all patches;  times 1 / sum, of 16 partial sums, patch i in i % 16, then halves
//   token       the sum of its square of patches, row after row, times 1 / their number; RMS norm; projection
// C, F, D and the number of patches are multiples of 16 (checked at load).

static bool is_float(DType type) { return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16; }

struct VisionRange {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// What a quantised matrix reads. Once for all matrices that follow on the same rows.
static void vision_round(bool wanted, const Activations& x, int64_t rows) {
  if (!wanted) return;
  for (int64_t t = 0; t < rows; ++t) round_row(x, t);
}

// out[t * out_stride + r] = row r of the matrix times row t of x, plus bias[r].
static void vision_affine(const VisionAffinePack& a, const Activations& x, int64_t rows, float* out, int64_t out_stride,
                          const VisionScratch& s) {
  const PackedMatrix& m = a.weight;
  if (m.type == DType::kF32) return float_matmul<DType::kF32>(m, a.bias, x, rows, out, out_stride, s.widened);
  if (m.type == DType::kF16) return float_matmul<DType::kF16>(m, a.bias, x, rows, out, out_stride, s.widened);
  if (m.type == DType::kBF16) return float_matmul<DType::kBF16>(m, a.bias, x, rows, out, out_stride, s.widened);
  Scratch scratch{};
  scratch.panel = s.panel;
  for (int64_t panel = 0; panel < m.panels(); ++panel) {
    const uint8_t* const packed = m.panel(panel);
    any_panels(m.type, &packed, 1, x, rows, &s.sums, scratch);
    const F bias = f_load(a.bias + panel * kPanelRows);
    for (int64_t t = 0; t < rows; ++t) {
      f_store(out + t * out_stride + panel * kPanelRows, f_add(f_load(s.sums + t * kPanelRows), bias));
    }
  }
}

static void layer_norm(const float* x, const VisionNormPack& norm, float* out, int64_t count, float epsilon) {
  F sum = f_set(0.0f);
  for (int64_t i = 0; i < count; i += 16) sum = f_add(sum, f_load(x + i));
  const F mean = f_set(f_sum(sum) / static_cast<float>(count));
  F squares = f_set(0.0f);
  for (int64_t i = 0; i < count; i += 16) {
    const F d = f_sub(f_load(x + i), mean);
    squares = f_fma(d, d, squares);
  }
  const F scale = f_set(1.0f / __builtin_sqrtf(f_sum(squares) / static_cast<float>(count) + epsilon));
  for (int64_t i = 0; i < count; i += 16) {
    const F d = f_mul(f_sub(f_load(x + i), mean), scale);
    f_store(out + i, f_fma(d, f_load(norm.weight + i), f_load(norm.bias + i)));
  }
}

static void norm_rows(const VisionContext& c, const VisionNormPack& norm, VisionRange rows, float* out) {
  const int64_t width = c.model->width;
  for (int64_t t = 0; t < rows.size(); ++t) {
    layer_norm(c.hidden + (rows.begin + t) * width, norm, out + t * width, width, c.model->norm_epsilon);
  }
}

static void add_floats(float* x, const float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) f_store(x + i, f_add(f_load(x + i), f_load(y + i)));
}

// Patch n as a row of the convolution's columns: channel, y, x.
static void gather_patch(const VisionPack& m, const float* pixels, int64_t n, float* out) {
  const int64_t p = m.patch_size, size = m.image_size;
  for (int64_t channel = 0; channel < 3; ++channel) {
    for (int64_t y = 0; y < p; ++y, out += p) {
      const float* from = pixels + (channel * size + n / m.side * p + y) * size + n % m.side * p;
      __builtin_memcpy(out, from, static_cast<size_t>(p) * sizeof(float));
    }
  }
}

static void embed_patches(const VisionContext& c, VisionRange rows, const VisionScratch& s) {
  const VisionPack& m = *c.model;
  for (int64_t t = 0; t < rows.size(); ++t) {
    gather_patch(m, c.pixels, rows.begin + t, s.patches.values + t * s.patches.columns);
  }
  float* x = c.hidden + rows.begin * m.width;
  vision_affine(m.patch, s.patches, rows.size(), x, m.width, s);
  add_floats(x, m.position + rows.begin * m.width, rows.size() * m.width);
}

// Queries as rows; keys and values as the weights of a product, with the patches and the columns as its lanes.
static void project_heads(const VisionContext& c, const VisionLayerPack& layer, VisionRange rows,
                          const VisionScratch& s) {
  const VisionPack& m = *c.model;
  const int64_t width = m.width, E = m.head_size, group = VisionPack::kGroup;
  norm_rows(c, layer.norm_1, rows, s.wide.values);
  vision_round(!(is_float(layer.q.weight.type) && is_float(layer.k.weight.type) && is_float(layer.v.weight.type)),
               s.wide, rows.size());
  vision_affine(layer.q, s.wide, rows.size(), c.query + rows.begin * width, width, s);
  vision_affine(layer.k, s.wide, rows.size(), s.out, width, s);
  for (int64_t head = 0; head < m.heads; ++head) {
    float* keys = c.keys + head * m.key_groups() * group * E;
    for (int64_t e = 0; e < E; ++e) {
      const float* from = s.out + head * E + e;
      for (int64_t n = rows.begin; n < rows.end; ++n, from += width) {
        keys[(n / group * E + e) * group + n % group] = *from;
      }
    }
  }
  vision_affine(layer.v, s.wide, rows.size(), s.out, width, s);
  for (int64_t head = 0; head < m.heads; ++head) {
    float* values = c.values + (head * m.patches() + rows.begin) * m.value_columns();
    for (int64_t t = 0; t < rows.size(); ++t) {
      __builtin_memcpy(values + t * m.value_columns(), s.out + t * width + head * E,
                       static_cast<size_t>(E) * sizeof(float));
    }
  }
}

// Scores to exp(score - largest); returns 1 / their sum, NaN where a score was not finite.
static float softmax_row(float* scores, int64_t count) {
  F top = f_load(scores);
  for (int64_t i = 16; i < count; i += 16) top = f_max(top, f_load(scores + i));
  const F largest = f_set(f_largest(top));
  F sum = f_set(0.0f), damage = f_set(0.0f);
  for (int64_t i = 0; i < count; i += 16) {
    const F x = f_load(scores + i);
    damage = f_fma(x, f_set(0.0f), damage);
    const F e = f_exp(f_sub(x, largest));
    f_store(scores + i, e);
    sum = f_add(sum, e);
  }
  return 1.0f / f_sum(sum) + f_sum(damage);
}

static void vision_attend(const VisionContext& c, int64_t head, VisionRange rows, const VisionScratch& s) {
  const VisionPack& m = *c.model;
  const int64_t E = m.head_size, group = VisionPack::kGroup, stride = m.score_stride(), columns = m.value_columns();
  alignas(64) static const float zeros[VisionPack::kGroup] = {};
  for (int64_t t = 0; t < rows.size(); ++t) {
    const float* q = c.query + (rows.begin + t) * m.width + head * E;
    for (int64_t e = 0; e < E; ++e) s.queries[t * E + e] = q[e] * m.query_scale;
  }
  const float* keys = c.keys + head * m.key_groups() * group * E;
  for (int64_t i = 0; i < m.key_groups(); ++i) {
    float_product(keys + i * E * group, s.queries, rows.size(), E, group, zeros, s.scores + i * group,
                  {group, E, stride});
  }
  float inverse[kVisionQueryRows];
  for (int64_t t = 0; t < rows.size(); ++t) inverse[t] = softmax_row(s.scores + t * stride, m.patches());
  const float* values = c.values + head * m.patches() * columns;
  for (int64_t t = 0; t < rows.size() * columns; t += 16) f_store(s.mixed + t, f_set(0.0f));
  for (int64_t key = 0; key < m.patches(); key += kWideColumns) {
    float_product(values + key * columns, s.scores + key, rows.size(), least(kWideColumns, m.patches() - key), columns,
                  nullptr, s.mixed, {columns, stride, columns});
  }
  for (int64_t t = 0; t < rows.size(); ++t) {
    float* out = c.query + (rows.begin + t) * m.width + head * E;
    for (int64_t e = 0; e < E; ++e) out[e] = s.mixed[t * columns + e] * inverse[t];
  }
}

// From attention's heads to the end of the layer.
static void finish_layer(const VisionContext& c, const VisionLayerPack& layer, VisionRange rows,
                         const VisionScratch& s) {
  const VisionPack& m = *c.model;
  const int64_t width = m.width, ffn = m.ffn_width;
  float* x = c.hidden + rows.begin * width;
  Activations attended = s.wide;
  attended.values = c.query + rows.begin * width;
  vision_round(!is_float(layer.out.weight.type), attended, rows.size());
  vision_affine(layer.out, attended, rows.size(), s.out, width, s);
  add_floats(x, s.out, rows.size() * width);
  norm_rows(c, layer.norm_2, rows, s.wide.values);
  vision_round(!is_float(layer.fc1.weight.type), s.wide, rows.size());
  vision_affine(layer.fc1, s.wide, rows.size(), s.tall.values, ffn, s);
  for (int64_t i = 0; i < rows.size() * ffn; i += 16) f_store(s.tall.values + i, f_gelu(f_load(s.tall.values + i)));
  vision_round(!is_float(layer.fc2.weight.type), s.tall, rows.size());
  vision_affine(layer.fc2, s.tall, rows.size(), s.out, width, s);
  add_floats(x, s.out, rows.size() * width);
}

// Squares of patches become tokens: their mean, a norm, the projection.
static void project_tokens(const VisionContext& c, VisionRange tokens, const VisionScratch& s) {
  const VisionPack& m = *c.model;
  const int64_t width = m.width, square = m.side / m.token_side;
  const F share = f_set(1.0f / static_cast<float>(square * square));
  for (int64_t t = 0; t < tokens.size(); ++t) {
    const int64_t token = tokens.begin + t;
    const float* first = c.hidden + (token / m.token_side * square * m.side + token % m.token_side * square) * width;
    float* out = s.wide.values + t * width;
    for (int64_t i = 0; i < width; i += 16) {
      F sum = f_set(0.0f);
      for (int64_t p = 0; p < square * square; ++p) {
        sum = f_add(sum, f_load(first + (p / square * m.side + p % square) * width + i));
      }
      f_store(out + i, f_mul(sum, share));
    }
    rms_norm(out, m.soft_norm, out, width, 1e-6f);
  }
  vision_round(!is_float(m.projection.weight.type), s.wide, tokens.size());
  vision_affine(m.projection, s.wide, tokens.size(), c.features + tokens.begin * m.text_width, m.text_width, s);
}

// Runs body(range) for pieces of `piece` items that this worker claims, and meets the others. Who finds the work
// cancelled claims no more: the stages that are left are empty then.
template <class Body>
static void vision_stage(const VisionContext& c, int64_t& stage, int64_t count, int64_t piece, const Body& body) {
  const int64_t pieces = (count + piece - 1) / piece;
  for (;;) {
    const int64_t index = team_claim(*c.team, stage, 1, pieces);
    if (index >= pieces || c.cancelled(c.user)) break;
    body(VisionRange{index * piece, least((index + 1) * piece, count)});
  }
  stage = team_next_stage(*c.team, stage, nullptr, nullptr, {});
}

static void vision(const VisionContext& c, int worker) {
  const VisionPack& m = *c.model;
  const VisionScratch& s = c.scratch[worker];
  int64_t stage = 0;
  vision_stage(c, stage, m.patches(), c.tile, [&](VisionRange rows) {
    embed_patches(c, rows, s);
    project_heads(c, m.layer[0], rows, s);
  });
  const int64_t tiles = (m.patches() + kVisionQueryRows - 1) / kVisionQueryRows;
  for (int32_t layer = 0; layer < m.layers; ++layer) {
    vision_stage(c, stage, m.heads * tiles, 1, [&](VisionRange item) {
      const int64_t first = item.begin % tiles * kVisionQueryRows;
      vision_attend(c, item.begin / tiles, {first, least(first + kVisionQueryRows, m.patches())}, s);
    });
    vision_stage(c, stage, m.patches(), c.tile, [&](VisionRange rows) {
      finish_layer(c, m.layer[layer], rows, s);
      if (layer + 1 < m.layers) {
        project_heads(c, m.layer[layer + 1], rows, s);
      } else {
        norm_rows(c, m.post_norm, rows, c.hidden + rows.begin * m.width);
      }
    });
  }
  vision_stage(c, stage, int64_t{m.token_side} * m.token_side, 16,
               [&](VisionRange tokens) { project_tokens(c, tokens, s); });
}
