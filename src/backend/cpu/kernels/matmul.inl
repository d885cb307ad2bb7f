// A weight matrix times rows of activations, whatever the type: panels [panel_begin, panel_end) of the output.

// Weights that stay floats: acc = fma(w[column], x[column], acc), column after column. kPanels panels at once (their
// chains of additions hide each other's latency) times kRows rows; out[panel][t * 16 + r], panels `out_stride` floats
// apart.
template <DType kType, int kPanels, int kRows>
static void float_panels(const uint8_t* panel, size_t panel_bytes, const Activations& x, int64_t row, float* out,
                         int64_t out_stride) {
  constexpr int kLineBytes = kPanelRows * (kType == DType::kF32 ? 4 : 2);
  const float* values = x.values + row * x.columns;
  F acc[kPanels][kRows];
  for (auto& of_panel : acc) {
    for (F& a : of_panel) a = f_set(0.0f);
  }
  for (int64_t column = 0; column < x.columns; ++column) {
    for (int i = 0; i < kPanels; ++i) {
      const uint8_t* p = panel + static_cast<size_t>(i) * panel_bytes + column * kLineBytes;
      if (column % 2 == 0) __builtin_prefetch(p + 2048);
      const F w = load_weights<kType>(p);
      for (int t = 0; t < kRows; ++t) acc[i][t] = f_fma(w, f_set(values[t * x.columns + column]), acc[i][t]);
    }
  }
  for (int i = 0; i < kPanels; ++i) {
    for (int t = 0; t < kRows; ++t) f_store(out + i * out_stride + (row + t) * kPanelRows, acc[i][t]);
  }
}

template <DType kType>
static void float_panel(const uint8_t* panel, const Activations& x, int64_t rows, float* out) {
  int64_t t = 0;
  for (; t + kNarrowRows <= rows; t += kNarrowRows) float_panels<kType, 1, kNarrowRows>(panel, 0, x, t, out, 0);
  for (; t + 4 <= rows; t += 4) float_panels<kType, 1, 4>(panel, 0, x, t, out, 0);
  for (; t < rows; ++t) float_panels<kType, 1, 1>(panel, 0, x, t, out, 0);
}

// `count` panels (1 or 2) of one type times all rows.
static void any_panels(DType type, const uint8_t* const* panels, int count, const Activations& x, int64_t rows,
                       float* const* out, const Scratch& scratch) {
#define CARAT_FLOAT_PANEL(type)                                                           \
  case DType::type:                                                                       \
    for (int i = 0; i < count; ++i) float_panel<DType::type>(panels[i], x, rows, out[i]); \
    return
#define CARAT_PANEL(type)                                                                   \
  case DType::type:                                                                         \
    if (count == 2) return quantised_two<DType::type>(panels, x, rows, out, scratch.panel); \
    return quantised_panel<DType::type>(panels[0], x, rows, out[0], scratch.panel)
// 16-bit weights, rounded where rows are whole blocks.
#define CARAT_HALF_PANEL(type)                                                                \
  case DType::type:                                                                           \
    if (x.columns % kBlock == 0) {                                                            \
      if (count == 2) return quantised_two<DType::type>(panels, x, rows, out, scratch.panel); \
      return quantised_panel<DType::type>(panels[0], x, rows, out[0], scratch.panel);         \
    }                                                                                         \
    for (int i = 0; i < count; ++i) float_panel<DType::type>(panels[i], x, rows, out[i]);     \
    return
  switch (type) {
    CARAT_FLOAT_PANEL(kF32);
    CARAT_HALF_PANEL(kF16);
    CARAT_HALF_PANEL(kBF16);
    CARAT_PANEL(kQ4_0);
    CARAT_PANEL(kQ4_1);
    CARAT_PANEL(kQ5_0);
    CARAT_PANEL(kQ5_1);
    CARAT_PANEL(kQ8_0);
    CARAT_PANEL(kQ2_K);
    CARAT_PANEL(kQ3_K);
    CARAT_PANEL(kQ4_K);
    CARAT_PANEL(kQ5_K);
    CARAT_PANEL(kQ6_K);
    CARAT_PANEL(kIQ4_NL);
    CARAT_PANEL(kIQ4_XS);
  }
#undef CARAT_HALF_PANEL
#undef CARAT_PANEL
#undef CARAT_FLOAT_PANEL
}

// Whether rows of activations are rounded for this matrix.
static inline bool reads_ints(const PackedMatrix& m) {
  if (m.type == DType::kF32) return false;
  if (m.type != DType::kF16 && m.type != DType::kBF16) return true;
  return m.columns % kBlock == 0;
}

static inline Reads reads(const PackedMatrix& m) {
  const bool ints = reads_ints(m);
  return {ints, !ints, has_tiles(m.type) && m.columns % (kSegment * kBlock) == 0};
}
static inline Reads operator|(Reads a, Reads b) { return {a.ints || b.ints, a.floats || b.floats, a.tiles || b.tiles}; }

// Four panels of a matrix of floats times one row: decode, where a single panel's chain would wait for itself.
static bool four_float_panels(const PackedMatrix& m, int64_t panel, const Activations& x, float* out) {
  if (reads_ints(m)) return false;
  switch (m.type) {
    case DType::kF32:
      float_panels<DType::kF32, 4, 1>(m.panel(panel), m.panel_bytes, x, 0, out, kPanelRows);
      return true;
    case DType::kF16:
      float_panels<DType::kF16, 4, 1>(m.panel(panel), m.panel_bytes, x, 0, out, kPanelRows);
      return true;
    case DType::kBF16:
      float_panels<DType::kBF16, 4, 1>(m.panel(panel), m.panel_bytes, x, 0, out, kPanelRows);
      return true;
    default:
      return false;
  }
}

static void store_panel(const PackedMatrix& m, int64_t panel, const float* sums, int64_t rows, float* out,
                        int64_t out_stride) {
  const int64_t first = panel * kPanelRows;
  const int64_t valid = least(kPanelRows, m.rows - first);
  for (int64_t t = 0; t < rows; ++t) {
    __builtin_memcpy(out + t * out_stride + first, sums + t * kPanelRows, static_cast<size_t>(valid) * sizeof(float));
  }
}

// out[t * out_stride + r] = dot(row r of the matrix, row t of x)
static void matmul(const PackedMatrix& m, const Activations& x, int64_t rows, float* out, int64_t out_stride,
                   int64_t panel_begin, int64_t panel_end, const Scratch& scratch) {
  int64_t panel = panel_begin;
  if (rows == 1) {
    for (; panel + 4 <= panel_end && four_float_panels(m, panel, x, scratch.sums); panel += 4) {
      for (int i = 0; i < 4; ++i) store_panel(m, panel + i, scratch.sums + i * kPanelRows, 1, out, out_stride);
    }
  }
  float* const sums[2] = {scratch.sums, scratch.sums + rows * kPanelRows};
  while (panel < panel_end) {
    const int count = panel + 1 < panel_end ? 2 : 1;
    const uint8_t* const two[2] = {m.panel(panel), count == 2 ? m.panel(panel + 1) : nullptr};
    any_panels(m.type, two, count, x, rows, sums, scratch);
    for (int i = 0; i < count; ++i) store_panel(m, panel + i, sums[i], rows, out, out_stride);
    panel += count;
  }
}

// out[t][F] = gelu(gate x) * (up x), as the product that follows reads it: rounded where two panels make a block, so
// that nobody waits for whole rows; `panel_begin` is even.
static void gated_matmul(const PackedMatrix& gate, const PackedMatrix& up, const Activations& x, int64_t rows,
                         const Activations& out, Reads reads, int64_t panel_begin, int64_t panel_end,
                         const Scratch& scratch) {
  float* const halves[2] = {scratch.sums, scratch.sums + rows * kPanelRows};
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    float* sums = halves[panel % 2];
    const uint8_t* const two[2] = {gate.panel(panel), up.panel(panel)};
    float* const outs[2] = {sums, scratch.sums_2};
    if (gate.type == up.type) {
      any_panels(gate.type, two, 2, x, rows, outs, scratch);
    } else {
      any_panels(gate.type, two, 1, x, rows, outs, scratch);
      any_panels(up.type, two + 1, 1, x, rows, outs + 1, scratch);
    }
    gelu_mul(sums, scratch.sums_2, sums, rows * kPanelRows);
    if (reads.floats) store_panel(gate, panel, sums, rows, out.values, gate.rows);
    if (!reads.ints || panel % 2 == 0) continue;
    for (int64_t t = 0; t < rows; ++t) {
      round_block(out, t, panel / 2, f_load(halves[0] + t * kPanelRows), f_load(sums + t * kPanelRows));
    }
  }
}

// One row of a packed matrix as float32: value = scale * (u - offset) + min.
template <DType kType>
static void unpack_quantised_row(const PackedMatrix& m, int64_t row, float* out) {
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr int kSubs = kFormat.sub_blocks;
  const int r = static_cast<int>(row % kPanelRows);
  const uint8_t* p = m.panel(row / kPanelRows);
  alignas(64) Integer weights[kBlock * kPanelRows];
  alignas(64) float scales[2 * kPanelRows], mins[2 * kPanelRows];
  const Expanded piece{weights, scales, mins};
  Scales super{};
  for (int64_t block = 0; block < m.columns / kBlock; ++block) {
    p = read_super_header<kType>(p, block, super);
    expand_block<kType>(p, super, piece);
    for (int c = 0; c < kBlock; ++c) {
      const int sub = kSubs == 1 ? 0 : c / 16;
      const auto integer = static_cast<float>(expanded_integer(weights, r, c));
      const float scale = scales[sub * kPanelRows + r];
      out[block * kBlock + c] =
          kFormat.has_min ? __builtin_fmaf(integer, scale, mins[sub * kPanelRows + r]) : integer * scale;
    }
    p += kFormat.block_bytes();
  }
}

template <DType kType>
static void unpack_float_row(const PackedMatrix& m, int64_t row, float* out) {
  constexpr int kBytes = kType == DType::kF32 ? 4 : 2;
  const uint8_t* p = m.panel(row / kPanelRows);
  float lane[16];
  for (int64_t c = 0; c < m.columns; ++c) {
    f_store(lane, load_weights<kType>(p + c * kPanelRows * kBytes));
    out[c] = lane[row % kPanelRows];
  }
}

static void unpack_row(const PackedMatrix& m, int64_t row, float* out) {
#define CARAT_UNPACK(type) \
  case DType::type:        \
    return unpack_quantised_row<DType::type>(m, row, out)
  switch (m.type) {
    case DType::kF32:
      return unpack_float_row<DType::kF32>(m, row, out);
    case DType::kF16:
      return unpack_float_row<DType::kF16>(m, row, out);
    case DType::kBF16:
      return unpack_float_row<DType::kBF16>(m, row, out);
      CARAT_UNPACK(kQ4_0);
      CARAT_UNPACK(kQ4_1);
      CARAT_UNPACK(kQ5_0);
      CARAT_UNPACK(kQ5_1);
      CARAT_UNPACK(kQ8_0);
      CARAT_UNPACK(kQ2_K);
      CARAT_UNPACK(kQ3_K);
      CARAT_UNPACK(kQ4_K);
      CARAT_UNPACK(kQ5_K);
      CARAT_UNPACK(kQ6_K);
      CARAT_UNPACK(kIQ4_NL);
      CARAT_UNPACK(kIQ4_XS);
  }
#undef CARAT_UNPACK
}
