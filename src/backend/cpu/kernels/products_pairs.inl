// Products of panels in the layout of layout_pairs.inl: lanes are output rows throughout.

// Whether element e of a lane lies whole in a word, and in which.
template <int kBits>
constexpr bool in_a_word(int e) {
  return e < 16 / kBits * kBits;
}
template <int kBits>
constexpr int word_of(int e) {
  return e / (16 / kBits);
}

// Element e (0..15) of every lane of a block; see pack_lanes. `p` are the block's words, `word` is its own if it has one.
template <int kBits, bool kTable, int e>
[[gnu::always_inline]] static inline W element(const uint8_t* p, W word) {
  constexpr int kPer = 16 / kBits;
  constexpr uint16_t kMask = static_cast<uint16_t>((1u << kBits) - 1);
  if constexpr (in_a_word<kBits>(e)) {
    constexpr int kShift = kBits * (e % kPer);
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

// Where kRows rows of activations go on. Each pointer is made anew for a block and hidden from GCC, which would else
// keep an address for each row and element, most of them on the stack.
template <int kRows>
struct RowPointers {
  const int16_t* at[kRows];
  [[gnu::always_inline]] RowPointers(const int16_t* first, int64_t stride) {
    for (int t = 0; t < kRows; ++t) {
      at[t] = first + t * stride;
      asm("" : "+r"(at[t]));
    }
  }
};

// isum[chain][i][t] += elements kFirst .. kLast - 1 of panel i times the pairs of row t; elements go to the chains in
// turn, and panels share what is loaded of a row. A word is loaded once for all its elements: blocks are no whole lines,
// so that half of these loads take two.
template <int kBits, bool kTable, int kFirst, int kLast, int kChains, int kPanels, int kRows>
[[gnu::always_inline]] static inline void dot_elements(const uint8_t* const* words, const RowPointers<kRows>& x,
                                                       I (*isum)[kPanels][kRows], W (&word)[kPanels]) {
  if constexpr (kFirst < kLast) {
    W w[kPanels];
    for (int i = 0; i < kPanels; ++i) {
      if constexpr (in_a_word<kBits>(kFirst) && (kFirst == 0 || word_of<kBits>(kFirst) != word_of<kBits>(kFirst - 1))) {
        word[i] = w_held(w_load(words[i] + 64 * word_of<kBits>(kFirst)));
      }
      w[i] = element<kBits, kTable, kFirst>(words[i], word[i]);
    }
    for (int t = 0; t < kRows; ++t) {
      const W pair = w_pair(x.at[t] + 2 * kFirst);
      for (int i = 0; i < kPanels; ++i) {
        I& sum = isum[kFirst % kChains][i][t];
        sum = w_dot(sum, w[i], pair);
      }
    }
    dot_elements<kBits, kTable, kFirst + 1, kLast, kChains, kPanels, kRows>(words, x, isum, word);
  }
}

// kPanels panels (1 or 2) times kRows rows of activations (1 to 4), unpacked as they are multiplied: out[i][t * 16 + r].
template <DType kType, int kPanels, int kRows>
static void matvec_panels(const uint8_t* const* panels, const Activations& x, float* const* out, const Ahead& ahead) {
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr int kSubs = kFormat.sub_blocks;
  constexpr int kHalf = 16 / kSubs;                                     // elements of a lane per sub-block
  constexpr int kChains = kRows == 1 && kPanels == 1 ? kRowChains : 1;  // so that one row does not wait for itself
  const int64_t blocks = x.columns / kBlock;

  F total[kPanels][kRows], acc[kPanels][kRows];
  const uint8_t* p[kPanels];
  Scales super[kPanels] = {};
  for (int i = 0; i < kPanels; ++i) {
    p[i] = panels[i];
    for (int t = 0; t < kRows; ++t) total[i][t] = f_set(-0.0f);  // the first segment is the total
  }
  for (int64_t segment = 0; segment < blocks; segment += kSegment) {
    for (int i = 0; i < kPanels; ++i) {
      for (int t = 0; t < kRows; ++t) acc[i][t] = f_set(0.0f);
    }
    const int64_t segment_end = least(segment + kSegment, blocks);
    for (int64_t block = segment; block < segment_end; ++block) {
      const uint8_t* words[kPanels];
      for (int i = 0; i < kPanels; ++i) {
        p[i] = read_super_header<kType>(p[i], block, super[i]);
        if (ahead.wants(block)) {
          for (int line = 0; line < kFormat.block_bytes(); line += 64) __builtin_prefetch(p[i] + ahead.bytes + line);
        }
        words[i] = p[i] + kFormat.block_bytes() - kFormat.word_bytes();
      }
      const RowPointers<kRows> pairs(x.ints + block * kBlock, x.columns);
      W word[kPanels];

      each_constant<0, kSubs>([&](auto sub) __attribute__((always_inline)) {
        constexpr int kSub = decltype(sub)::value;
        I isum[kChains][kPanels][kRows];
        for (auto& chain : isum) {
          for (auto& panel : chain) {
            for (I& sum : panel) sum = i_set(0);
          }
        }
        dot_elements<kFormat.bits, kFormat.table, kSub * kHalf, (kSub + 1) * kHalf, kChains, kPanels, kRows>(
            words, pairs, isum, word);
        for (int i = 0; i < kPanels; ++i) {
          const Scales w = read_scales<kType>(p[i], kSub, super[i]);
          for (int t = 0; t < kRows; ++t) {
            const F x_scale = f_set(x.scales[t * blocks + block]);
            const int32_t* s = x.sums + t * (x.columns / 16) + 2 * block;
            const int32_t sum = kSubs == 1 ? s[0] + s[1] : s[kSub];
            I integer = isum[0][i][t];
            for (int chain = 1; chain < kChains; ++chain) integer = i_add(integer, isum[chain][i][t]);
            if constexpr (kFormat.offset != 0) integer = i_add(integer, i_set(-kFormat.offset * sum));
            acc[i][t] = f_fma(i_float(integer), f_mul(w.scale, x_scale), acc[i][t]);
            if constexpr (kFormat.has_min) {
              acc[i][t] = f_fma(f_set(static_cast<float>(sum)), f_mul(w.min, x_scale), acc[i][t]);
            }
          }
        }
      });
      for (int i = 0; i < kPanels; ++i) p[i] += kFormat.block_bytes();
    }
    for (int i = 0; i < kPanels; ++i) {
      for (int t = 0; t < kRows; ++t) total[i][t] = f_add(total[i][t], acc[i][t]);
    }
  }
  for (int i = 0; i < kPanels; ++i) {
    for (int t = 0; t < kRows; ++t) f_store(out[i] + t * kPanelRows, f_mul(total[i][t], row_factor(x, t)));
  }
}

template <int kBits, bool kTable, int kOffset, int kFirst>
[[gnu::always_inline]] static inline void expand_elements(const uint8_t* words, int16_t* out) {
  if constexpr (kFirst < 16) {
    const W word = w_load(words + 64 * (in_a_word<kBits>(kFirst) ? word_of<kBits>(kFirst) : 0));
    w_store(out + kFirst * 32, w_sub(element<kBits, kTable, kFirst>(words, word), kOffset));
    expand_elements<kBits, kTable, kOffset, kFirst + 1>(words, out);
  }
}

// The integers of the block at `words`, expanded: [pairs of columns][16 rows][2].
template <DType kType>
static inline void expand_integers(const uint8_t* words, Integer* out) {
  constexpr PackFormat kFormat = pack_format(kType);
  expand_elements<kFormat.bits, kFormat.table, kFormat.offset, 0>(words, out);
}

// Of sixteen columns of 16-bit weights, two to a line of 64 bytes: the power of two of the largest of each row, at least
// 2^-114, so that its factor and its scale are normal numbers.
template <DType kType>
[[gnu::always_inline]] static inline F largest_power(const uint8_t* lines) {
  constexpr uint16_t kMagnitude = 0x7fff;
  W widest = w_and(w_load(lines), kMagnitude);
  for (int i = 1; i < 8; ++i) widest = w_max(widest, w_and(w_load(lines + 64 * i), kMagnitude));
  alignas(64) uint8_t columns[64];
  w_store(columns, widest);
  const F largest = f_max(load_weights<kType>(columns), load_weights<kType>(columns + 32));
  return f_max(f_binade(largest), f_set(0x1p-114f));
}

// A line of two columns to integers: w * 2^(12 - e), where 2^e is that power.
template <DType kType>
[[gnu::always_inline]] static inline W rounded_line(const uint8_t* line, F factor) {
  return w_rounded(load_weights<kType>(line), load_weights<kType>(line + 32), factor);
}

// A block of 16-bit weights at p to integers.
template <DType kType>
static inline void round_weights(const uint8_t* p, const Expanded& out) {
  for (int sub = 0; sub < 2; ++sub) {
    const uint8_t* lines = p + sub * 512;
    const F power = largest_power<kType>(lines);
    const F factor = f_factor(power);
    f_store(out.scales + sub * kPanelRows, f_mul(power, f_set(0x1p-12f)));
    for (int i = 0; i < 8; ++i) w_store(out.weights + (8 * sub + i) * 32, rounded_line<kType>(lines + 64 * i, factor));
  }
}

// One panel of 16-bit weights times one row, rounded as they are multiplied.
template <DType kType>
static void matvec_rounded(const uint8_t* p, const Activations& x, float* out) {
  constexpr int kAhead = 8192;
  const int64_t blocks = x.columns / kBlock;
  F total = f_set(-0.0f);  // the first segment is the total
  for (int64_t segment = 0; segment < blocks; segment += kSegment) {
    F acc = f_set(0.0f);
    const int64_t parts_end = 2 * least(segment + kSegment, blocks);
    for (int64_t part = 2 * segment; part < parts_end; ++part, p += 512) {
      for (int line = 0; line < 512; line += 64) __builtin_prefetch(p + kAhead + line);
      const F power = largest_power<kType>(p);
      const F factor = f_factor(power);
      I isum[kRowChains];
      for (I& sum : isum) sum = i_set(0);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        I& sum = isum[i % kRowChains];
        sum = w_dot(sum, rounded_line<kType>(p + 64 * i, factor), w_pair(x.ints + part * 16 + 2 * i));
      }
      for (int chain = 1; chain < kRowChains; ++chain) isum[0] = i_add(isum[0], isum[chain]);
      const F scale = f_mul(f_mul(power, f_set(0x1p-12f)), f_set(x.scales[part / 2]));
      acc = f_fma(i_float(isum[0]), scale, acc);
    }
    total = f_add(total, acc);
  }
  f_store(out, f_mul(total, row_factor(x, 0)));
}

// Column c of row r of a block that was expanded.
static inline int32_t expanded_integer(const Integer* weights, int r, int c) {
  return weights[(c / 2 * kPanelRows + r) * 2 + c % 2];
}

// isum[t] and, of a second panel, isum_2[t] += pairs kPair .. kPairs - 1 of columns times the rows' pairs.
template <int kPair, int kPairs, int kRows>
[[gnu::always_inline]] static inline void dot_pairs(const int16_t* weights, int64_t to_second,
                                                    const RowPointers<kRows>& x, I (&isum)[kRows], I (&isum_2)[kRows]) {
  if constexpr (kPair < kPairs) {
    const W v = w_load(reinterpret_cast<const uint8_t*>(weights + kPair * 32));
    const W v_2 = w_load(reinterpret_cast<const uint8_t*>(weights + to_second + kPair * 32));
    for (int t = 0; t < kRows; ++t) {
      const W pair = w_pair(x.at[t] + 2 * kPair);
      isum[t] = w_dot(isum[t], v, pair);
      isum_2[t] = w_dot(isum_2[t], v_2, pair);
    }
    dot_pairs<kPair + 1, kPairs, kRows>(weights, to_second, x, isum, isum_2);
  }
}

// total[i][t][16] += expanded pieces of kPanels panels times kRows rows of activations, whose columns start at
// `first_block` * 32. Two panels share each load of a row's pair, and their chains of additions hide each other's latency.
template <int kSubs, bool kMin, bool kTwoPlanes, int kPanels, int kRows>
static inline void gemm_tile(const Expanded* w, int64_t blocks, const Activations& x, int64_t row, int64_t first_block,
                             float* const* total) {
  static_assert(!kTwoPlanes);
  constexpr int kPairs = 16 / kSubs;
  const int16_t* ints = x.ints + row * x.columns + first_block * kBlock;
  const int32_t* sums = x.sums + row * (x.columns / 16) + first_block * 2;
  const int64_t x_blocks = x.columns / kBlock;
  const float* x_scales = x.scales + row * x_blocks + first_block;
  constexpr bool kTwo = kPanels == 2;
  const int16_t* weights = w[0].weights;
  const int64_t to_second = kTwo ? w[kPanels - 1].weights - weights : 0;
  for (int64_t segment = 0; segment < blocks; segment += kSegment) {
    F acc[kRows], acc_2[kRows];  // of the first panel, of the second
    for (int t = 0; t < kRows; ++t) acc[t] = acc_2[t] = f_set(0.0f);
    const int64_t parts_end = least(segment + kSegment, blocks) * kSubs;
    for (int64_t part = segment * kSubs; part < parts_end; ++part) {
      I isum[kRows], isum_2[kRows];
      for (int t = 0; t < kRows; ++t) isum[t] = isum_2[t] = i_set(0);
      if constexpr (kTwo) {
        dot_pairs<0, kPairs, kRows>(weights, to_second, RowPointers<kRows>(ints, x.columns), isum, isum_2);
      } else {
#pragma GCC unroll 8
        for (int pair = 0; pair < kPairs; ++pair) {
          const W v = w_load(reinterpret_cast<const uint8_t*>(weights + pair * 32));
          for (int t = 0; t < kRows; ++t) isum[t] = w_dot(isum[t], v, w_pair(ints + t * x.columns + 2 * pair));
        }
      }
      weights += kPairs * 32;
      ints += 2 * kPairs;
      const auto add = [&](const Expanded& of, const I* isums, F* to) {
        const F scale = f_load(of.scales + part * kPanelRows);
        for (int t = 0; t < kRows; ++t) {
          const F x_scale = f_set(x_scales[t * x_blocks + part / kSubs]);
          to[t] = f_fma(i_float(isums[t]), f_mul(scale, x_scale), to[t]);
          if constexpr (kMin) {
            const F w_min = f_mul(f_load(of.mins + part * kPanelRows), x_scale);
            const int32_t* s = sums + t * (x.columns / 16) + part * (2 / kSubs);
            to[t] = f_fma(f_set(static_cast<float>(kSubs == 1 ? s[0] + s[1] : s[0])), w_min, to[t]);
          }
        }
      };
      add(w[0], isum, acc);
      if constexpr (kTwo) add(w[1], isum_2, acc_2);
    }
    const auto store = [&](float* to, const F* from) {
      for (int t = 0; t < kRows; ++t) f_store(to + t * kPanelRows, f_add(f_load(to + t * kPanelRows), from[t]));
    };
    store(total[0] + row * kPanelRows, acc);
    if constexpr (kTwo) store(total[1] + row * kPanelRows, acc_2);
  }
}
