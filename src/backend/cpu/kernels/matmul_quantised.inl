// Products of quantised panels with rounded activations; all.inl has the arithmetic.
//
// Few rows (decode) unpack in registers as they multiply; many rows (prefill) expand a piece of the panel to integers of
// one width once and multiply it with every row. How integers lie and are multiplied is the layout's: products_*.inl.

// Expands the block at p.
template <DType kType>
static inline void expand_block(const uint8_t* p, const Scales& super, const Expanded& out) {
  constexpr PackFormat kFormat = pack_format(kType);
  for (int sub = 0; sub < kFormat.sub_blocks; ++sub) {
    const Scales w = read_scales<kType>(p, sub, super);
    f_store(out.scales + sub * kPanelRows, w.scale);
    if constexpr (kFormat.has_min) f_store(out.mins + sub * kPanelRows, w.min);
  }
  const uint8_t* words = p + kFormat.block_bytes() - kFormat.word_bytes();
  expand_integers<kType>(words, out.weights);
}

// Expands `blocks` blocks starting at p (a super-block border for K formats); returns the first byte after them.
template <DType kType>
static const uint8_t* expand(const uint8_t* p, int64_t blocks, const Expanded& out) {
  constexpr PackFormat kFormat = pack_format(kType);
  Scales super{};
  for (int64_t block = 0; block < blocks; ++block) {
    p = read_super_header<kType>(p, block, super);
    const int64_t first = block * kFormat.sub_blocks * kPanelRows;
    expand_block<kType>(p, super, {out.weights + block * kBlock * kPanelRows, out.scales + first, out.mins + first});
    p += kFormat.block_bytes();
  }
  return p;
}

// One panel times `rows` rows: out[t * 16 + r].
template <DType kType>
static void gemm_panel(const uint8_t* p, const Activations& x, int64_t rows, float* out, uint8_t* scratch) {
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr int kSubs = kFormat.sub_blocks;
  constexpr int kTile = kGemmRows;
  Expanded piece;
  piece.weights = reinterpret_cast<Integer*>(scratch);
  piece.scales = reinterpret_cast<float*>(scratch + kChunkColumns * kPanelRows * 2);
  piece.mins = piece.scales + kChunkColumns / 16 * kPanelRows;
  for (int64_t t = 0; t < rows; ++t) f_store(out + t * kPanelRows, f_set(-0.0f));  // the first segment is the total
  const int64_t blocks = x.columns / kBlock;
  for (int64_t first = 0; first < blocks; first += kChunkColumns / kBlock) {
    const int64_t count = least(kChunkColumns / kBlock, blocks - first);
    p = expand<kType>(p, count, piece);
    int64_t t = 0;
    if constexpr (kTile > 1) {
      for (; t + kTile <= rows; t += kTile) {
        gemm_tile<kSubs, kFormat.has_min, kTile>(piece, count, x, t, first, out + t * kPanelRows);
      }
    }
    for (; t < rows; ++t) gemm_tile<kSubs, kFormat.has_min, 1>(piece, count, x, t, first, out + t * kPanelRows);
  }
  if (x.factors == nullptr) return;
  for (int64_t t = 0; t < rows; ++t) {
    f_store(out + t * kPanelRows, f_mul(f_load(out + t * kPanelRows), row_factor(x, t)));
  }
}

// One panel times all rows, out[t * 16 + r].
template <DType kType>
static void quantised_panel(const uint8_t* panel, const Activations& x, int64_t rows, float* out, uint8_t* scratch) {
  if (rows == 1) return matvec_panel<kType, 1>(panel, x, out);
  if constexpr (kMatvecRows >= 2) {
    if (rows == 2) return matvec_panel<kType, 2>(panel, x, out);
  }
  if constexpr (kMatvecRows >= 4) {
    if (rows == 3) return matvec_panel<kType, 3>(panel, x, out);
    if (rows == 4) return matvec_panel<kType, 4>(panel, x, out);
  }
  gemm_panel<kType>(panel, x, rows, out, scratch);
}
