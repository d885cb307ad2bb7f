// Products of panels in the layout of layout_planes.inl: bytes times two planes of bytes, exact in 32 bits.

template <int kLeft>
[[gnu::always_inline]] static inline uint8x16_t shifted(uint8x16_t a) {
  if constexpr (kLeft > 0) return vshlq_n_u8(a, kLeft);
  if constexpr (kLeft < 0) return vshrq_n_u8(a, -kLeft);
  return a;
}

// Vector i of a block as bytes.
template <int kBits, bool kTable, int i>
[[gnu::always_inline]] static inline int8x16_t weight_bytes(const uint8_t* words) {
  if constexpr (kBits == 8) {
    return vreinterpretq_s8_u8(vld1q_u8(words + 16 * i));
  } else {
    uint8x16_t value = vdupq_n_u8(0);
    if constexpr (nibble_bits(kBits) > 0) {
      constexpr Place kPlace = nibble_place(i);
      const uint8x16_t byte = vld1q_u8(words + kPlace.at);
      value = kPlace.shift == 0 ? vandq_u8(byte, vdupq_n_u8(15)) : vshrq_n_u8(byte, 4);
      if constexpr (kTable) {
        const uint8x16_t table = veorq_u8(vld1q_u8(kIq4Table), vdupq_n_u8(0x80));
        return vreinterpretq_s8_u8(vqtbl1q_u8(table, value));
      }
    }
    if constexpr (pair_bits(kBits) > 0) {
      constexpr Place kPlace = pair_place(kBits, i);
      constexpr int kTo = nibble_bits(kBits);  // the lowest bit that these are
      const uint8x16_t there = shifted<kTo - kPlace.shift>(vld1q_u8(words + kPlace.at));
      value = kTo == 0 ? vandq_u8(there, vdupq_n_u8(3)) : vbslq_u8(vdupq_n_u8(3 << kTo), there, value);
    }
    if constexpr (single_bits(kBits) > 0) {
      constexpr Place kPlace = single_place(kBits, i);
      constexpr int kTo = nibble_bits(kBits) + pair_bits(kBits);
      value = vbslq_u8(vdupq_n_u8(1 << kTo), shifted<kTo - kPlace.shift>(vld1q_u8(words + kPlace.at)), value);
    }
    return vreinterpretq_s8_u8(value);
  }
}

// The vectors of group g as a product takes them; what is still to be taken away is sums_begin's and whole_rows' affair.
template <DType kType, int g>
[[gnu::always_inline]] static inline void group_bytes(const uint8_t* words, int8x16_t (&w)[kGroup]) {
  constexpr PackFormat kFormat = pack_format(kType);
  if constexpr (signed_nibbles(kFormat)) {
    for (int q = 0; q < kGroup / 2; ++q) {
      const uint8x16_t byte = vld1q_u8(words + nibble_place(g * kGroup + q).at);
      w[q] = vreinterpretq_s8_u8(vandq_u8(byte, vdupq_n_u8(15)));
      w[q + kGroup / 2] = vreinterpretq_s8_u8(byte);
    }
  } else {
    each_constant<0, kGroup>([&](auto q) __attribute__((always_inline)) {
      w[q.value] = weight_bytes<kFormat.bits, kFormat.table, g * kGroup + q.value>(words);
    });
  }
}

// The sums of a (sub-)block whose activations add up to `sum`, so that in the end the weights' offset is gone. Signed
// nibbles, with L the low nibbles' products and B the whole bytes': rows 8-15 are (B - L) / 16 + 8 * sum.
template <DType kType>
[[gnu::always_inline]] static inline Sums sums_begin(int32_t sum) {
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr bool kSigned = kFormat.bits == 8 || kFormat.table;  // nothing left to take away
  constexpr int kOffset = kSigned ? 0 : kFormat.offset;
  return sums_from(-kOffset * sum, signed_nibbles(kFormat) ? (128 - 17 * kOffset) * sum : -kOffset * sum);
}
template <DType kType>
[[gnu::always_inline]] static inline I whole_rows(const Sums& sums) {
  I total = sums_total(sums);
  if constexpr (signed_nibbles(pack_format(kType))) {
    for (int q = 0; q < 2; ++q) total.v[q + 2] = vshrq_n_s32(vsubq_s32(total.v[q + 2], total.v[q]), 4);
  }
  return total;
}

// One panel times kRows rows of activations, out[0][t * 16 + r].
template <DType kType, int kPanels, int kRows>
static void matvec_panels(const uint8_t* const* panels, const Activations& x, float* const* outs, const Ahead& ahead) {
  static_assert(kPanels == 1);
  const uint8_t* p = panels[0];
  float* const out = outs[0];
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr int kSubs = kFormat.sub_blocks;
  constexpr int kGroups = kBlock / kGroup / kSubs;  // of a sub-block
  const int64_t blocks = x.columns / kBlock;

  F total[kRows], acc[kRows];
  for (int t = 0; t < kRows; ++t) total[t] = f_set(-0.0f);  // the first segment is the total
  Scales super{};
  for (int64_t segment = 0; segment < blocks; segment += kSegment) {
    for (int t = 0; t < kRows; ++t) acc[t] = f_set(0.0f);
    const int64_t segment_end = least(segment + kSegment, blocks);
    for (int64_t block = segment; block < segment_end; ++block) {
      p = read_super_header<kType>(p, block, super);
      for (int line = 0; line < kFormat.block_bytes(); line += 64) __builtin_prefetch(p + ahead.bytes + line);
      const uint8_t* words = p + kFormat.block_bytes() - kFormat.word_bytes();
      Planes planes[kRows];
      for (int t = 0; t < kRows; ++t) planes[t] = load_planes(x.ints + t * x.columns + block * kBlock);

      each_constant<0, kSubs>([&](auto sub) __attribute__((always_inline)) {
        int32_t sum[kRows];
        Sums sums[kRows];
        for (int t = 0; t < kRows; ++t) {
          const int32_t* s = x.sums + t * (x.columns / 16) + 2 * block;
          sum[t] = kSubs == 1 ? s[0] + s[1] : s[sub.value];
          sums[t] = sums_begin<kType>(sum[t]);
        }
        each_constant<0, kGroups>([&](auto i) __attribute__((always_inline)) {
          constexpr int kIndex = decltype(sub)::value * kGroups + decltype(i)::value;
          int8x16_t w[kGroup];
          group_bytes<kType, kIndex>(words, w);
          for (int t = 0; t < kRows; ++t) sums_add<kIndex>(sums[t], w, planes[t]);
        });
        const Scales w = read_scales<kType>(p, sub.value, super);
        for (int t = 0; t < kRows; ++t) {
          const F x_scale = f_set(x.scales[t * blocks + block]);
          acc[t] = f_fma(i_float(whole_rows<kType>(sums[t])), f_mul(w.scale, x_scale), acc[t]);
          if constexpr (kFormat.has_min) {
            acc[t] = f_fma(f_set(static_cast<float>(sum[t])), f_mul(w.min, x_scale), acc[t]);
          }
        }
      });
      p += kFormat.block_bytes();
    }
    for (int t = 0; t < kRows; ++t) total[t] = f_add(total[t], acc[t]);
  }
  for (int t = 0; t < kRows; ++t) f_store(out + t * kPanelRows, f_mul(total[t], row_factor(x, t)));
}

// The integers of the block at `words`, expanded: its 32 vectors, as signed bytes.
template <DType kType>
static inline void expand_integers(const uint8_t* words, Integer* out) {
  constexpr PackFormat kFormat = pack_format(kType);
  each_constant<0, 32>([&](auto i) __attribute__((always_inline)) {
    constexpr int kIndex = decltype(i)::value;
    int8x16_t w;
    if constexpr (signed_nibbles(kFormat)) {
      constexpr Place kPlace = nibble_place(kIndex);
      const int8x16_t byte = vreinterpretq_s8_u8(vld1q_u8(words + kPlace.at));
      constexpr int kOffset = kFormat.offset - (kPlace.shift == 0 ? 0 : 8);
      w = kPlace.shift == 0 ? vandq_s8(byte, vdupq_n_s8(15)) : vshrq_n_s8(byte, 4);
      if constexpr (kOffset != 0) w = vsubq_s8(w, vdupq_n_s8(kOffset));
    } else {
      w = weight_bytes<kFormat.bits, kFormat.table, kIndex>(words);
      if constexpr (kFormat.bits != 8 && !kFormat.table && kFormat.offset != 0) {
        w = vsubq_s8(w, vdupq_n_s8(kFormat.offset));
      }
    }
    vst1q_s8(out + 16 * kIndex, w);
  });
}

// Four columns' bytes of four rows, side by side.
static inline int32x4_t four_bytes(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
  return vsliq_n_s32(vsliq_n_s32(vsliq_n_s32(a, b, 8), c, 16), d, 24);
}

// A block of 16-bit weights at p to integers, as products_pairs.inl has it, for each sub-block one plane after the other.
template <DType kType>
static inline void round_weights(const uint8_t* p, const Expanded& out) {
  const uint16x8_t magnitude = vdupq_n_u16(0x7fff);
  for (int sub = 0; sub < 2; ++sub) {
    const auto* lines = reinterpret_cast<const uint16_t*>(p + sub * 512);  // of a column
    uint16x8_t widest[2] = {vdupq_n_u16(0), vdupq_n_u16(0)};
    for (int c = 0; c < 16; ++c) {
      for (int half = 0; half < 2; ++half) {
        widest[half] = vmaxq_u16(widest[half], vandq_u16(vld1q_u16(lines + 16 * c + 8 * half), magnitude));
      }
    }
    alignas(16) uint16_t rows[kPanelRows];
    for (int half = 0; half < 2; ++half) vst1q_u16(rows + 8 * half, widest[half]);
    const F largest = load_weights<kType>(reinterpret_cast<const uint8_t*>(rows));
    const F power = f_max(f_binade(largest), f_set(0x1p-114f));
    const F factor = f_factor(power);
    f_store(out.scales + sub * kPanelRows, f_mul(power, f_set(0x1p-12f)));
    int32x4_t bytes[2][4][4];  // [plane][four columns][four rows]
    for (int four = 0; four < 4; ++four) {
      I w[4];
      for (int c = 0; c < 4; ++c) {
        w[c] = f_round(f_mul(load_weights<kType>(p + sub * 512 + 32 * (4 * four + c)), factor));
      }
      const int32x4_t low = vdupq_n_s32(127);
      for (int q = 0; q < 4; ++q) {
        bytes[0][four][q] = four_bytes(vshrq_n_s32(w[0].v[q], 7), vshrq_n_s32(w[1].v[q], 7), vshrq_n_s32(w[2].v[q], 7),
                                       vshrq_n_s32(w[3].v[q], 7));
        bytes[1][four][q] = four_bytes(vandq_s32(w[0].v[q], low), vandq_s32(w[1].v[q], low), vandq_s32(w[2].v[q], low),
                                       vandq_s32(w[3].v[q], low));
      }
    }
    for (int plane = 0; plane < 2; ++plane) {
      int8_t* to = out.weights + (2 * sub + plane) * 16 * kPanelRows;
      for (int four = 0; four < 4; four += kGroup / 4) {
        for (int q = 0; q < 4; ++q) {
          const int32x4_t a = bytes[plane][four][q];
          if constexpr (kGroup == 4) {
            vst1q_s8(to + 16 * (4 * four + q), vreinterpretq_s8_s32(a));
          } else {  // eight columns of two rows
            const int32x4_t b = bytes[plane][four + 1][q];
            vst1q_s8(to + 16 * (4 * four + 2 * q), vreinterpretq_s8_s32(vzip1q_s32(a, b)));
            vst1q_s8(to + 16 * (4 * four + 2 * q + 1), vreinterpretq_s8_s32(vzip2q_s32(a, b)));
          }
        }
      }
    }
  }
}

// Column c of row r of a block that was expanded.
static inline int32_t expanded_integer(const Integer* weights, int r, int c) {
  const int i = c / kGroup * kGroup + r / kVectorRows;
  return weights[16 * i + r % kVectorRows * kGroup + c % kGroup];
}

// total[t][16] += an expanded piece times kRows rows of activations, whose columns start at `first_block` * 32.
template <int kSubs, bool kMin, bool kTwoPlanes, int kPanels, int kRows>
static inline void gemm_tile(const Expanded* pieces, int64_t blocks, const Activations& x, int64_t row,
                             int64_t first_block, float* const* totals) {
  static_assert(kPanels == 1);
  const Expanded& w = pieces[0];
  float* const total = totals[0] + row * kPanelRows;
  constexpr int kColumns = kBlock / kSubs;
  const int8_t* weights = w.weights;
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
      tile_products<kColumns, kRows>(weights, ints + part / kSubs * kBlock, x.columns, part % kSubs * 16, isum);
      weights += kColumns * kPanelRows;
      if constexpr (kTwoPlanes) {
        I low[kRows];
        tile_products<kColumns, kRows>(weights, ints + part / kSubs * kBlock, x.columns, part % kSubs * 16, low);
        weights += kColumns * kPanelRows;
        for (int t = 0; t < kRows; ++t) {
          for (int q = 0; q < 4; ++q) isum[t].v[q] = vmlaq_n_s32(low[t].v[q], isum[t].v[q], 128);
        }
      }
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
