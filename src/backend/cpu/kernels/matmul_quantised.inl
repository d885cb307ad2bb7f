// Products of quantised panels with rounded activations; all.inl has the arithmetic.
//
// Few rows (decode) unpack in registers as they multiply; many rows (prefill) expand a piece of the panel to integers of
// one width once and multiply it with every row. How integers lie and are multiplied is the layout's: products_*.inl.

// Expands the block at p.
template <DType kType>
static inline void expand_block(const uint8_t* p, const Scales& super, const Expanded& out) {
  constexpr PackFormat kFormat = pack_format(kType);
  if constexpr (kFormat.scale == ScaleKind::kFound) {
    round_weights<kType>(p, out);
  } else {
    expand_scales<kType>(p, super, out.scales, out.mins);
    const uint8_t* words = p + kFormat.block_bytes() - kFormat.word_bytes();
    expand_integers<kType>(words, out.weights);
  }
}

// Expands `blocks` blocks starting at p (a super-block border for K formats); returns the first byte after them.
template <DType kType>
static const uint8_t* expand(const uint8_t* p, int64_t blocks, const Expanded& out) {
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr int kAhead = kFormat.scale == ScaleKind::kFound ? 8192 : 4096;
  Scales super{};
  for (int64_t block = 0; block < blocks; ++block) {
    p = read_super_header<kType>(p, block, super);
    for (int line = 0; line < kFormat.block_bytes(); line += 64) __builtin_prefetch(p + kAhead + line);
    const int64_t first = block * kFormat.sub_blocks * kPanelRows;
    constexpr int64_t kIntegers = int64_t{kBlock} * kPanelRows * (two_planes<kType> ? 2 : 1);
    expand_block<kType>(p, super, {out.weights + block * kIntegers, out.scales + first, out.mins + first});
    p += kFormat.block_bytes();
  }
  return p;
}

// The last rows, fewer than a tile.
template <int kSubs, bool kMin, bool kTwoPlanes, int kPanels, int kRows>
static inline void gemm_rest(const Expanded* w, int64_t blocks, const Activations& x, int64_t row, int64_t rows,
                             int64_t first_block, float* const* total) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return gemm_tile<kSubs, kMin, kTwoPlanes, kPanels, kRows>(w, blocks, x, row, first_block, total);
    gemm_rest<kSubs, kMin, kTwoPlanes, kPanels, kRows - 1>(w, blocks, x, row, rows, first_block, total);
  }
}

// kPanels panels times `rows` rows: out[i][t * 16 + r].
template <DType kType, int kPanels>
static void gemm_panels(const uint8_t* const* panels, const Activations& x, int64_t rows, float* const* out,
                        uint8_t* scratch) {
  if (gemm_tiles<kType, kPanels>(panels, x, rows, out)) return;
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr int kSubs = kFormat.sub_blocks;
  constexpr int64_t kColumns = kChunkColumns / kPanels;
  Expanded piece[kPanels];
  const uint8_t* p[kPanels];
  for (int i = 0; i < kPanels; ++i) {
    uint8_t* const at = scratch + i * (kPanelScratchBytes / kPanels);
    piece[i].weights = reinterpret_cast<Integer*>(at);
    piece[i].scales = reinterpret_cast<float*>(at + kColumns * kPanelRows * 2);
    piece[i].mins = piece[i].scales + kColumns / 16 * kPanelRows;
    p[i] = panels[i];
    for (int64_t t = 0; t < rows; ++t)
      f_store(out[i] + t * kPanelRows, f_set(-0.0f));  // the first segment is the total
  }
  const int64_t blocks = x.columns / kBlock;
  constexpr bool kFound = kFormat.scale == ScaleKind::kFound;
  const auto panel_bytes = static_cast<int64_t>(kFormat.panel_bytes(x.columns));
  const bool neighbours = kPanels == 2 && panels[kPanels - 1] == panels[0] + panel_bytes;
  for (int64_t first = 0; first < blocks; first += kColumns / kBlock) {
    const int64_t count = least(kColumns / kBlock, blocks - first);
    for (int i = 0; i < kPanels; ++i) p[i] = expand<kType>(p[i], count, piece[i]);
    // What is expanded next, of these panels or of those that follow: 16-bit weights are so many bytes that each tile asks
    // the memory for a part of them.
    const int64_t lines = kFound ? count * kFormat.block_bytes() / 64 / most(1, rows / kGemmRows) + 1 : 0;
    int64_t asked = first + count == blocks && neighbours ? panel_bytes : 0;
    int64_t t = 0;
    for (; t + kGemmRows <= rows; t += kGemmRows) {
      for (int64_t line = 0; line < lines; ++line, asked += 64) {
        for (int i = 0; i < kPanels; ++i) __builtin_prefetch(p[i] + asked, 0, 2);
      }
      gemm_tile<kSubs, kFormat.has_min, two_planes<kType>, kPanels, kGemmRows>(piece, count, x, t, first, out);
    }
    if constexpr (kGemmPanels == 2) {
      gemm_rest<kSubs, kFormat.has_min, two_planes<kType>, kPanels, kGemmRows - 1>(piece, count, x, t, rows - t, first,
                                                                                   out);
    } else {
      for (; t < rows; ++t)
        gemm_tile<kSubs, kFormat.has_min, two_planes<kType>, kPanels, 1>(piece, count, x, t, first, out);
    }
  }
  for (int i = 0; i < kPanels; ++i) apply_factors(x, rows, out[i]);
}

// As many rows as a tile has, at most, unpacked as they are multiplied.
template <DType kType, int kPanels, int kRows>
static inline void matvec_tile(const uint8_t* const* panels, const Activations& x, int64_t rows, float* const* out,
                               const Ahead& ahead) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return matvec_panels<kType, kPanels, kRows>(panels, x, out, ahead);
    matvec_tile<kType, kPanels, kRows - 1>(panels, x, rows, out, ahead);
  }
}

// Few rows (decode): tile after tile, each unpacking the panels anew. While the last ones are in the cache, each asks the
// memory for its share of the panels that follow.
template <DType kType, int kPanels>
static void matvec(const uint8_t* const* panels, const Activations& x, int64_t rows, float* const* out) {
  const int64_t tiles = (rows + kMatvecTile - 1) / kMatvecTile;
  Ahead ahead;
  if (tiles > 1) {
    const auto panel_bytes = static_cast<int64_t>(pack_format(kType).panel_bytes(x.columns));
    const bool neighbours = kPanels == 2 && panels[1] == panels[0] + panel_bytes;
    ahead = {neighbours ? 2 * panel_bytes : panel_bytes, tiles, 0};
  }
  Activations from = x;
  float* to[kPanels];
  for (int i = 0; i < kPanels; ++i) to[i] = out[i];
  for (int64_t t = 0; t < rows; t += kMatvecTile) {
    matvec_tile<kType, kPanels, kMatvecTile>(panels, from, least(kMatvecTile, rows - t), to, ahead);
    from.ints += kMatvecTile * x.columns;
    from.scales += kMatvecTile * (x.columns / kBlock);
    from.sums += kMatvecTile * (x.columns / 16);
    if (from.factors != nullptr) from.factors += kMatvecTile;
    for (int i = 0; i < kPanels; ++i) to[i] += kMatvecTile * kPanelRows;
    ++ahead.first;
  }
}

// One panel times all rows, out[t * 16 + r].
template <DType kType>
static void quantised_panel(const uint8_t* panel, const Activations& x, int64_t rows, float* out, uint8_t* scratch) {
  constexpr bool kUnpacks = pack_format(kType).scale != ScaleKind::kFound;
  if constexpr (kUnpacks && kGemmPanels == 2) {
    if (rows == 1) return matvec_panels<kType, 1, 1>(&panel, x, &out, {});
    if (rows <= kMatvecRows) {  // a panel that is left over goes twice, rather than to code of its own
      const uint8_t* const twice[2] = {panel, panel};
      float* const outs[2] = {out, reinterpret_cast<float*>(scratch)};
      return matvec<kType, 2>(twice, x, rows, outs);
    }
  } else if constexpr (kUnpacks) {
    if (rows <= kMatvecRows) return matvec<kType, 1>(&panel, x, rows, &out);
  } else if constexpr (kRoundsOneRow) {
    if (rows == 1) return matvec_rounded<kType>(panel, x, out);
  }
  gemm_panels<kType, 1>(&panel, x, rows, &out, scratch);
}

// Two panels of one type, of one matrix or of two.
template <DType kType>
static void quantised_two(const uint8_t* const* panels, const Activations& x, int64_t rows, float* const* out,
                          uint8_t* scratch) {
  if constexpr (kGemmPanels == 2) {
    if (rows > 1) {
      if constexpr (pack_format(kType).scale != ScaleKind::kFound) {
        if (rows <= kMatvecRows) return matvec<kType, 2>(panels, x, rows, out);
      }
      return gemm_panels<kType, 2>(panels, x, rows, out, scratch);
    }
  }
  for (int i = 0; i < 2; ++i) quantised_panel<kType>(panels[i], x, rows, out[i], scratch);
}
