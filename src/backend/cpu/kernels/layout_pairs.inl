// How integers lie where a product takes 16-bit pairs (vpmaddwd, vpdpwssd): packed.h has the picture. Activations are
// int16, a row after the other.

using Integer = int16_t;  // of a weight that is expanded

// Where element e of a lane lies: `per` elements fit whole into a word; the bits left over at the top of the words hold
// the rest.
//   b  words  whole elements  left over
//   2    2    8 + 8
//   3    3    5 + 5 + 5       1 bit of each word: element 15
//   4    4    4 each
//   5    5    3 each          1 bit of each word: element 15
//   6    6    2 each          4 bits of words 0-3: low bits of elements 12-15; 2 + 2 bits of words 4 and 5: their high
//   bits 8    8    2 each
template <int kBits>
static void pack_lanes(const uint8_t* values, uint32_t* words, int row) {
  // values[32] of one row; words[kBits][16 rows], a lane pair (parities 0 and 1) in one 32-bit number.
  constexpr int kPer = 16 / kBits;
  uint32_t pair[16];
  for (int e = 0; e < 16; ++e)
    pair[e] = static_cast<uint32_t>(values[2 * e]) | static_cast<uint32_t>(values[2 * e + 1]) << 16;
  uint32_t word[kBits];
  for (int w = 0; w < kBits; ++w) {
    word[w] = 0;
    for (int j = 0; j < kPer; ++j) word[w] |= pair[w * kPer + j] << (kBits * j);
  }
  if constexpr (kBits == 3 || kBits == 5) {
    for (int w = 0; w < kBits; ++w) word[w] |= ((pair[15] >> w) & 0x00010001u) << 15;
  }
  if constexpr (kBits == 6) {
    for (int w = 0; w < 4; ++w) word[w] |= (pair[12 + w] & 0x000f000fu) << 12;
    for (int e = 0; e < 4; ++e) word[4 + e / 2] |= ((pair[12 + e] >> 4) & 0x00030003u) << (12 + 2 * (e % 2));
  }
  for (int w = 0; w < kBits; ++w) words[w * kPanelRows + row] = word[w];
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
