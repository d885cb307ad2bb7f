// How integers lie where a product takes signed bytes (sdot, smmla). Same size as packed.h's, another order.
//
// Weights of a block: 32 vectors of 16 bytes, vector g * kGroup + q holding columns g * kGroup .. + kGroup - 1 (one row
// after the other) of the q-th 16 / kGroup rows. Stored so that one or two instructions make a vector of bytes:
//   8 bits  the vectors, signed (u - 128)
//   4 bits  16 vectors of nibbles: low halves rows 0-7, high halves rows 8-15 of the same columns. In formats without a
//           table the high nibble is u ^ 8, so that the byte as it lies is u_low + 16 * (u_high - 8): products of whole
//           bytes and of low nibbles give both halves, and nothing is shifted
//   2 bits  8 vectors of four fields: field f of vector t is the vector 4t + f
//   1 bit   4 vectors: bit b of vector t is the vector 8t + b
//   3 = 2 + 1, 5 = 4 + 1, 6 = 4 + 2: the low bits first
//
// Activations: q = 128 * hi + lo, hi in -128..127, lo in 0..127. A block of 32 takes the 64 bytes of its int16:
// dot_*.inl has their order.

using Integer = int8_t;  // of a weight that is expanded

constexpr bool kRoundsOneRow = false;  // 16-bit weights are expanded whatever the rows

// Of a weight that is expanded: 16-bit ones become 128 * hi + lo, too, hi in -64..63, lo in 0..127.
template <DType kType>
constexpr bool two_planes = pack_format(kType).scale == ScaleKind::kFound;

static constexpr int kVectorRows = 16 / kGroup;  // rows of a vector

constexpr int nibble_bits(int bits) { return bits == 4 || bits == 5 || bits == 6 ? 4 : 0; }
constexpr int pair_bits(int bits) { return bits == 2 || bits == 3 || bits == 6 ? 2 : 0; }
constexpr int single_bits(int bits) { return bits == 3 || bits == 5 ? 1 : 0; }
// Whether high nibbles are signed and stay where they are.
constexpr bool signed_nibbles(const PackFormat& format) { return format.bits == 4 && !format.table; }

// Where vector i keeps its bits: the 16 bytes at `words` + at, shifted left by `shift`.
struct Place {
  int at, shift;
};
constexpr Place nibble_place(int i) {
  const int g = i / kGroup;
  const int q = i % kGroup;
  return {16 * (g * (kGroup / 2) + q % (kGroup / 2)), q < kGroup / 2 ? 0 : 4};
}
constexpr Place pair_place(int bits, int i) { return {64 * nibble_bits(bits) + 16 * (i / 4), 2 * (i % 4)}; }
constexpr Place single_place(int bits, int i) {
  return {64 * (nibble_bits(bits) + pair_bits(bits)) + 16 * (i / 8), i % 8};
}

// One row of a block into its words, rows in order.
template <DType kType>
static inline void pack_integers(const uint8_t* values, uint8_t* words, int row) {
  constexpr PackFormat kFormat = pack_format(kType);
  if (row == 0) __builtin_memset(words, 0, kFormat.word_bytes());
  const auto put = [&](Place place, int byte, int value) {
    words[place.at + byte] = static_cast<uint8_t>(words[place.at + byte] | value << place.shift);
  };
  for (int c = 0; c < kBlock; ++c) {
    const int i = c / kGroup * kGroup + row / kVectorRows;
    const int byte = row % kVectorRows * kGroup + c % kGroup;
    int value = values[c];
    if constexpr (kFormat.bits == 8) {
      put({16 * i, 0}, byte, value ^ 0x80);
    } else {
      if (signed_nibbles(kFormat) && row >= kPanelRows / 2) value ^= 8;
      if constexpr (nibble_bits(kFormat.bits) > 0) put(nibble_place(i), byte, value & 15);
      value >>= nibble_bits(kFormat.bits);
      if constexpr (pair_bits(kFormat.bits) > 0) put(pair_place(kFormat.bits, i), byte, value & 3);
      value >>= pair_bits(kFormat.bits);
      if constexpr (single_bits(kFormat.bits) > 0) put(single_place(kFormat.bits, i), byte, value & 1);
    }
  }
}

// A block of 32 rounded activations into its place.
static inline void store_ints(int16_t* ints, I low, I high) {
  int8x8_t hi[4], lo[4];
  for (int i = 0; i < 4; ++i) {
    const I& half = i < 2 ? low : high;
    const int16x8_t q = vmovn_high_s32(vmovn_s32(half.v[i % 2 * 2]), half.v[i % 2 * 2 + 1]);
    hi[i] = vshrn_n_s16(q, 7);
    lo[i] = vand_s8(vmovn_s16(q), vdup_n_s8(127));
  }
  auto* bytes = reinterpret_cast<int8_t*>(ints);
  for (int i = 0; i < 4; ++i) {
    vst1_s8(bytes + hi_offset(i), hi[i]);
    vst1_s8(bytes + lo_offset(i), lo[i]);
  }
}

// And back, for whoever looks at them.
static void rounded_row(const Activations& x, int64_t row, int16_t* out) {
  const auto* bytes = reinterpret_cast<const int8_t*>(x.ints + row * x.columns);
  for (int64_t c = 0; c < x.columns; ++c) {
    const int8_t* block = bytes + c / kBlock * (2 * kBlock);
    const int i = static_cast<int>(c % kBlock / 8);
    const int64_t at = c % 8;
    out[c] = static_cast<int16_t>(128 * block[hi_offset(i) + at] + block[lo_offset(i) + at]);
  }
}
