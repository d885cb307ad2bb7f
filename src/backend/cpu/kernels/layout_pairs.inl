// How integers lie where a product takes 16-bit pairs (vpmaddwd, vpdpwssd): packed.h has the picture. Activations are
// int16, a row after the other.

using Integer = int16_t;  // of a weight that is expanded

constexpr bool kRoundsOneRow = true;  // matvec_rounded is there

template <DType kType>
constexpr bool two_planes = false;  // of a weight that is expanded

// Where element e of a lane lies: `per` elements fit whole into a word; the bits left over at the top of the words hold
// the rest.
//   b  words  whole elements  left over
//   2    2    8 + 8
//   3    3    5 + 5 + 5       1 bit of each word: element 15
//   4    4    4 each
//   5    5    3 each          1 bit of each word: element 15
//   6    6    2 each          4 bits of words 0-3: low bits of elements 12-15; 2 + 2 bits of words 4 and 5: their high bits
//   8    8    2 each

// Whole words from consecutive bytes, least significant first, where elements fill words without a rest.
static inline uint32_t word_of_8(uint32_t v) {  // columns 0 1 2 3 -> 0 2 1 3
  return (v & 0xff0000ffu) | (v & 0x0000ff00u) << 8 | (v >> 8 & 0x0000ff00u);
}
static inline uint32_t word_of_6(uint32_t v) {  // the same, six bits each
  return (v & 0xff) | (v >> 16 & 0xff) << 6 | (v >> 8 & 0xff) << 16 | (v >> 24) << 22;
}
static inline uint32_t word_of_4(uint64_t v) {  // columns 0 2 4 6 below, 1 3 5 7 above
  // The product puts the four nibbles that lie 16 bits apart side by side into its highest 16 bits; nothing carries.
  constexpr uint64_t kEven = 0x000f000f000f000f, kGather = 0x0001001001001000;
  const uint64_t even = (v & kEven) * kGather >> 48, odd = (v >> 8 & kEven) * kGather >> 48;
  return static_cast<uint32_t>(even | odd << 16);
}

// values[32] of one row, each below 2^kBits; words[kBits][16 rows], a lane pair (parities 0 and 1) in one 32-bit number.
template <int kBits>
static void pack_lanes(const uint8_t* values, uint32_t* words, int row) {
  const auto store = [&](int w, uint32_t word) { words[w * kPanelRows + row] = word; };
  if constexpr (kBits == 8) {
    for (int w = 0; w < 8; ++w) store(w, word_of_8(load_u32(values + 4 * w)));
  } else if constexpr (kBits == 4) {
    for (int w = 0; w < 4; ++w) store(w, word_of_4(load_u64(values + 8 * w)));
  } else {
    constexpr int kPer = 16 / kBits;
    uint32_t pair[16];
    for (int e = 0; e < 16; ++e)
      pair[e] = static_cast<uint32_t>(values[2 * e]) | static_cast<uint32_t>(values[2 * e + 1]) << 16;
    uint32_t word[kBits];
    for (int w = 0; w < kBits; ++w) {
      if constexpr (kBits == 6) {
        word[w] = word_of_6(load_u32(values + 4 * w));
      } else {
        word[w] = 0;
        for (int j = 0; j < kPer; ++j) word[w] |= pair[w * kPer + j] << (kBits * j);
      }
    }
    if constexpr (kBits == 3 || kBits == 5) {
      for (int w = 0; w < kBits; ++w) word[w] |= ((pair[15] >> w) & 0x00010001u) << 15;
    }
    if constexpr (kBits == 6) {
      for (int w = 0; w < 4; ++w) word[w] |= (pair[12 + w] & 0x000f000fu) << 12;
      for (int e = 0; e < 4; ++e) word[4 + e / 2] |= ((pair[12 + e] >> 4) & 0x00030003u) << (12 + 2 * (e % 2));
    }
    for (int w = 0; w < kBits; ++w) store(w, word[w]);
  }
}

// One row of a block into its words, rows in order.
template <DType kType>
static inline void pack_integers(const uint8_t* values, uint8_t* words, int row) {
  pack_lanes<pack_format(kType).bits>(values, reinterpret_cast<uint32_t*>(words), row);
}

// A block of 32 rounded activations into its place.
static inline void store_ints(int16_t* ints, I low, I high) {
  i_store_i16(ints, low);
  i_store_i16(ints + 16, high);
}

// And back, for whoever looks at them.
static void rounded_row(const Activations& x, int64_t row, int16_t* out) {
  __builtin_memcpy(out, x.ints + row * x.columns, static_cast<size_t>(x.columns) * sizeof(int16_t));
}
