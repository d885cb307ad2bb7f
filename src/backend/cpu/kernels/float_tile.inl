// Many rows of float32 activations times 16- and 32-bit weights: tiles of panels x rows whose sums stay in registers,
// over weights that have been widened to float32 once for all rows. Each output is the one chain of all.inl,
// acc = fma(w, x, acc), column after column, whatever the tile.

// As many chains as registers hold (those of a narrow tile), so that they hide each other's latency and none waits for
// memory.
static float multiply_add(int64_t rounds) {
  constexpr int kTurns = kPeakOperations / 32 / kNarrowRows;
  static_assert(kTurns * kNarrowRows * 32 == kPeakOperations);
  F acc[kNarrowRows];
  for (F& a : acc) a = f_set(1.0f);
  const F w = f_set(0.999f);
  for (int64_t round = 0; round < rounds * kTurns; ++round) {
    for (F& a : acc) a = f_fma(a, w, w);
  }
  F sum = f_set(0.0f);
  for (const F& a : acc) sum = f_add(sum, a);
  return f_sum(sum);
}

struct Strides {
  int64_t w, x, out;  // floats from a column's weights to the next, from a row to the next
};

// out[t][i * 16 + r] = fma(w[column][i * 16 + r], x[t][column], ...) over the columns, going on from `from` (the same
// for every row) or, where it is null, from what is in `out`.
template <int kPanels, int kRows>
static inline void float_tile(const float* w, const float* x, int64_t columns, const float* from, float* out,
                              const Strides& stride) {
  F acc[kRows][kPanels];
  for (int t = 0; t < kRows; ++t) {
    for (int i = 0; i < kPanels; ++i) acc[t][i] = f_load((from != nullptr ? from : out + t * stride.out) + 16 * i);
  }
  for (int64_t column = 0; column < columns; ++column, w += stride.w) {
    F weights[kPanels];
    for (int i = 0; i < kPanels; ++i) weights[i] = f_load(w + 16 * i);
    for (int t = 0; t < kRows; ++t) {
      const F value = f_set(x[t * stride.x + column]);
      for (int i = 0; i < kPanels; ++i) acc[t][i] = f_fma(weights[i], value, acc[t][i]);
    }
  }
  for (int t = 0; t < kRows; ++t) {
    for (int i = 0; i < kPanels; ++i) f_store(out + t * stride.out + 16 * i, acc[t][i]);
  }
}

// The same for any number of rows.
template <int kPanels, int kRows>
static void float_rows(const float* w, const float* x, int64_t rows, int64_t columns, const float* from, float* out,
                       const Strides& stride) {
  int64_t t = 0;
  for (; t + kRows <= rows; t += kRows) {
    float_tile<kPanels, kRows>(w, x + t * stride.x, columns, from, out + t * stride.out, stride);
  }
  for (; t < rows; ++t) float_tile<kPanels, 1>(w, x + t * stride.x, columns, from, out + t * stride.out, stride);
}

// `width` columns of output, a multiple of 16, from weights that lie as [column][width].
static void float_product(const float* w, const float* x, int64_t rows, int64_t columns, int64_t width,
                          const float* from, float* out, const Strides& stride) {
  int64_t first = 0;
  for (; first + 16 * kFloatPanels <= width; first += 16 * kFloatPanels) {
    float_rows<kFloatPanels, kFloatRows>(w + first, x, rows, columns, from == nullptr ? nullptr : from + first,
                                         out + first, stride);
  }
  for (; first < width; first += 16) {
    float_rows<1, kNarrowRows>(w + first, x, rows, columns, from == nullptr ? nullptr : from + first, out + first,
                               stride);
  }
}

// Columns [begin, begin + count) of `panels` panels, to float32: out[column][panel][16].
template <DType kType>
static void widen(const PackedMatrix& m, int64_t panel, int64_t panels, int64_t begin, int64_t count, float* out) {
  constexpr int kLineBytes = kPanelRows * (kType == DType::kF32 ? 4 : 2);
  for (int64_t i = 0; i < panels; ++i) {
    const uint8_t* line = m.panel(panel + i) + begin * kLineBytes;
    float* to = out + i * kPanelRows;
    for (int64_t column = 0; column < count; ++column, line += kLineBytes, to += panels * kPanelRows) {
      f_store(to, load_weights<kType>(line));
    }
  }
}

// out[t * out_stride + r] = from[r] + row r of the matrix times row t of x, whole panels.
template <DType kType>
static void float_matmul(const PackedMatrix& m, const float* from, const Activations& x, int64_t rows, float* out,
                         int64_t out_stride, float* widened) {
  const int64_t panels = m.panels();
  for (int64_t panel = 0; panel < panels; panel += kWidePanels) {
    const int64_t count = least(kWidePanels, panels - panel);
    for (int64_t column = 0; column < m.columns; column += kWideColumns) {
      const int64_t columns = least(kWideColumns, m.columns - column);
      widen<kType>(m, panel, count, column, columns, widened);
      float_product(widened, x.values + column, rows, columns, count * kPanelRows,
                    column == 0 ? from + panel * kPanelRows : nullptr, out + panel * kPanelRows,
                    {count * kPanelRows, x.columns, out_stride});
    }
  }
}
