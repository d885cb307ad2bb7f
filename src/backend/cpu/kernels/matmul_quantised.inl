// Products of quantised panels with rounded activations; all.inl has the arithmetic.
//
// Few rows (decode) unpack in registers as they multiply; many rows (prefill) expand a piece of the panel to 16-bit
// integers once and multiply it with every row. Lanes are output rows throughout.

// Element e (0..15) of every lane of a block; see pack_lanes. `p` are the block's words.
template <int kBits, bool kTable, int e>
[[gnu::always_inline]] static inline W element(const uint8_t* p) {
  constexpr int kPer = 16 / kBits;
  constexpr uint16_t kMask = static_cast<uint16_t>((1u << kBits) - 1);
  if constexpr (e < kPer * kBits) {
    constexpr int kShift = kBits * (e % kPer);
    W word = w_load(p + 64 * (e / kPer));
    if constexpr (kShift != 0) word = w_shr<kShift>(word);
    if constexpr (kShift + kBits < 16) word = w_and(word, kMask);
    if constexpr (kTable) word = w_table(word);
    return word;
  } else if constexpr (kBits == 6) {
    constexpr int i = e - 12;
    constexpr int kHigh = 12 + 2 * (i % 2) - 4;  // shift that brings the two high bits to their place
    return w_or(w_shr<12>(w_load(p + 64 * i)), w_and(w_shr<kHigh>(w_load(p + 64 * (4 + i / 2))), 0x30));
  } else {  // 3 or 5 bits: element 15 from the top bits
    W value = w_shr<15>(w_load(p));
    value = w_or(value, w_and(w_shr<14>(w_load(p + 64)), 2));
    value = w_or(value, w_and(w_shr<13>(w_load(p + 128)), 4));
    if constexpr (kBits == 5) {
      value = w_or(value, w_and(w_shr<12>(w_load(p + 192)), 8));
      value = w_or(value, w_and(w_shr<11>(w_load(p + 256)), 16));
    }
    return value;
  }
}

// isum[chain][t] += elements kFirst .. kLast - 1 times the pairs of x at row t; elements go to the chains in turn.
template <int kBits, bool kTable, int kFirst, int kLast, int kChains, int kRows>
[[gnu::always_inline]] static inline void dot_elements(const uint8_t* words, const int16_t* x, int64_t stride,
                                                       I (*isum)[kRows]) {
  if constexpr (kFirst < kLast) {
    const W w = element<kBits, kTable, kFirst>(words);
    I* chain = isum[kFirst % kChains];
    for (int t = 0; t < kRows; ++t) chain[t] = w_dot(chain[t], w, w_pair(x + t * stride + 2 * kFirst));
    dot_elements<kBits, kTable, kFirst + 1, kLast, kChains, kRows>(words, x, stride, isum);
  }
}

// The scale and the minimum of sixteen rows.
struct Scales {
  F scale, min;
};

// At the first block of a super-block: reads its header into `super` and steps over it. Nothing to do for other
// formats.
template <DType kType>
[[gnu::always_inline]] static inline const uint8_t* read_super_header(const uint8_t* p, int64_t block, Scales& super) {
  constexpr PackFormat kFormat = pack_format(kType);
  if constexpr (kFormat.scale == ScaleKind::kSuper) {
    if (block % (kSuperBlock / kBlock) == 0) {
      super.scale = f_load_f16(p);
      if constexpr (kFormat.has_min) super.min = f_load_f16(p + 2 * kPanelRows);
      p += kFormat.super_header_bytes();
    }
  }
  return p;
}

// Of sub-block `sub` of the block at p.
template <DType kType>
[[gnu::always_inline]] static inline Scales read_scales(const uint8_t* p, int sub, const Scales& super) {
  constexpr PackFormat kFormat = pack_format(kType);
  Scales out{};
  if constexpr (kFormat.scale == ScaleKind::kSuper) {
    out.scale = f_mul(super.scale, i_float(i_load_i8(p + sub * kPanelRows)));
    if constexpr (kFormat.has_min) {
      out.min = f_mul(super.min, i_float(i_load_u8(p + (kFormat.sub_blocks + sub) * kPanelRows)));
    }
  } else {
    out.scale = f_load_f16(p);
    if constexpr (kFormat.has_min) out.min = f_load_f16(p + 2 * kPanelRows);
  }
  return out;
}

static constexpr int64_t kSegment = 128 / kBlock;  // blocks that a chain of additions goes over

// What every product of row t is multiplied with in the end.
static inline F row_factor(const Activations& x, int64_t t) {
  return f_set(x.factors == nullptr ? 1.0f : x.factors[t]);
}

// One panel times kRows rows of activations (1 to 4), out[t * 16 + r].
template <DType kType, int kRows>
static void matvec_panel(const uint8_t* p, const Activations& x, float* out) {
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr int kSubs = kFormat.sub_blocks;
  constexpr int kHalf = 16 / kSubs;            // elements of a lane per sub-block
  constexpr int kChains = kRows == 1 ? 2 : 1;  // of additions, so that one row does not wait for itself
  const int64_t blocks = x.columns / kBlock;

  F total[kRows], acc[kRows];
  for (int t = 0; t < kRows; ++t) total[t] = f_set(-0.0f);  // the first segment is the total
  Scales super{};
  for (int64_t segment = 0; segment < blocks; segment += kSegment) {
    for (int t = 0; t < kRows; ++t) acc[t] = f_set(0.0f);
    const int64_t segment_end = least(segment + kSegment, blocks);
    for (int64_t block = segment; block < segment_end; ++block) {
      p = read_super_header<kType>(p, block, super);
      for (int line = 0; line < kFormat.block_bytes(); line += 64) __builtin_prefetch(p + 4096 + line);
      const uint8_t* words = p + kFormat.block_bytes() - kFormat.word_bytes();
      const int16_t* pairs = x.ints + block * kBlock;

      I isum[kSubs][kChains][kRows];
      for (int sub = 0; sub < kSubs; ++sub) {
        for (int chain = 0; chain < kChains; ++chain) {
          for (int t = 0; t < kRows; ++t) isum[sub][chain][t] = i_set(0);
        }
      }
      dot_elements<kFormat.bits, kFormat.table, 0, kHalf, kChains, kRows>(words, pairs, x.columns, isum[0]);
      dot_elements<kFormat.bits, kFormat.table, kHalf, 16, kChains, kRows>(words, pairs, x.columns, isum[kSubs - 1]);

      for (int sub = 0; sub < kSubs; ++sub) {
        const Scales w = read_scales<kType>(p, sub, super);
        for (int t = 0; t < kRows; ++t) {
          const F x_scale = f_set(x.scales[t * blocks + block]);
          const int32_t* s = x.sums + t * (x.columns / 16) + 2 * block;
          const int32_t sum = kSubs == 1 ? s[0] + s[1] : s[sub];
          I integer = isum[sub][0][t];
          if constexpr (kChains == 2) integer = i_add(integer, isum[sub][1][t]);
          if constexpr (kFormat.offset != 0) integer = i_add(integer, i_set(-kFormat.offset * sum));
          acc[t] = f_fma(i_float(integer), f_mul(w.scale, x_scale), acc[t]);
          if constexpr (kFormat.has_min) {
            acc[t] = f_fma(f_set(static_cast<float>(sum)), f_mul(w.min, x_scale), acc[t]);
          }
        }
      }
      p += kFormat.block_bytes();
    }
    for (int t = 0; t < kRows; ++t) total[t] = f_add(total[t], acc[t]);
  }
  for (int t = 0; t < kRows; ++t) f_store(out + t * kPanelRows, f_mul(total[t], row_factor(x, t)));
}

// A piece of a panel, expanded: weights [pairs of columns][16 rows][2] of int16, offset subtracted; scales and minima
// [sub-block][16 rows] in float32.
struct Expanded {
  int16_t* weights;
  float* scales;
  float* mins;
};

template <int kBits, bool kTable, int kOffset, int kFirst>
[[gnu::always_inline]] static inline void expand_elements(const uint8_t* words, int16_t* out) {
  if constexpr (kFirst < 16) {
    w_store(out + kFirst * 32, w_sub(element<kBits, kTable, kFirst>(words), kOffset));
    expand_elements<kBits, kTable, kOffset, kFirst + 1>(words, out);
  }
}

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
  expand_elements<kFormat.bits, kFormat.table, kFormat.offset, 0>(words, out.weights);
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

// total[t][16] += an expanded piece times kRows rows of activations, whose columns start at `first_block` * 32.
template <int kSubs, bool kMin, int kRows>
static inline void gemm_tile(const Expanded& w, int64_t blocks, const Activations& x, int64_t row, int64_t first_block,
                             float* total) {
  constexpr int kPairs = 16 / kSubs;
  const int16_t* weights = w.weights;
  const int16_t* ints = x.ints + row * x.columns + first_block * kBlock;
  const int32_t* sums = x.sums + row * (x.columns / 16) + first_block * 2;
  const int64_t x_blocks = x.columns / kBlock;
  const float* x_scales = x.scales + row * x_blocks + first_block;
  for (int64_t segment = 0; segment < blocks; segment += kSegment) {
    F acc[kRows];
    for (int t = 0; t < kRows; ++t) acc[t] = f_set(0.0f);
    const int64_t parts_end = least(segment + kSegment, blocks) * kSubs;
    for (int64_t part = segment * kSubs; part < parts_end; ++part) {
      I isum[kRows];
      for (int t = 0; t < kRows; ++t) isum[t] = i_set(0);
#pragma GCC unroll 8
      for (int pair = 0; pair < kPairs; ++pair) {
        const W v = w_load(reinterpret_cast<const uint8_t*>(weights));
        weights += 32;
        for (int t = 0; t < kRows; ++t) isum[t] = w_dot(isum[t], v, w_pair(ints + t * x.columns + 2 * pair));
      }
      ints += 2 * kPairs;
      const F scale = f_load(w.scales + part * kPanelRows);
      for (int t = 0; t < kRows; ++t) {
        const F x_scale = f_set(x_scales[t * x_blocks + part / kSubs]);
        acc[t] = f_fma(i_float(isum[t]), f_mul(scale, x_scale), acc[t]);
        if constexpr (kMin) {
          const F w_min = f_mul(f_load(w.mins + part * kPanelRows), x_scale);
          const int32_t* s = sums + t * (x.columns / 16) + part * (2 / kSubs);
          acc[t] = f_fma(f_set(static_cast<float>(kSubs == 1 ? s[0] + s[1] : s[0])), w_min, acc[t]);
        }
      }
    }
    for (int t = 0; t < kRows; ++t) f_store(total + t * kPanelRows, f_add(f_load(total + t * kPanelRows), acc[t]));
  }
}

// One panel times `rows` rows: out[t * 16 + r].
template <DType kType>
static void gemm_panel(const uint8_t* p, const Activations& x, int64_t rows, float* out, uint8_t* scratch) {
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr int kSubs = kFormat.sub_blocks;
  constexpr int kTile = kGemmRows;
  Expanded piece;
  piece.weights = reinterpret_cast<int16_t*>(scratch);
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
  if constexpr (kMatvecRows >= 4) {
    if (rows == 2) return matvec_panel<kType, 2>(panel, x, out);
    if (rows == 3) return matvec_panel<kType, 3>(panel, x, out);
    if (rows == 4) return matvec_panel<kType, 4>(panel, x, out);
  }
  gemm_panel<kType>(panel, x, rows, out, scratch);
}
