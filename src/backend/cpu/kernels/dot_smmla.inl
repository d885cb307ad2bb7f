// Products of signed bytes by smmla (Armv8.6 int8 matrix multiply): eight columns of two rows times two rows of eight
// columns. Decoding, the second operand's rows are the two planes of one row of activations; in prefill they are two
// rows. A block's activations are [8 columns of hi][8 columns of lo] four times.

static constexpr int kGroup = 8;  // columns that one instruction adds up

// Where the planes of columns 8i .. 8i + 7 lie in a block.
constexpr int hi_offset(int i) { return 16 * i; }
constexpr int lo_offset(int i) { return 16 * i + 8; }

// The activations of a block.
struct Planes {
  int8x16_t v[4];
};
static inline Planes load_planes(const int16_t* ints) {
  const auto* p = reinterpret_cast<const int8_t*>(ints);
  return {{vld1q_s8(p), vld1q_s8(p + 16), vld1q_s8(p + 32), vld1q_s8(p + 48)}};
}

// Sums of products of sixteen rows: v[q] is row 2q by hi, 2q by lo, 2q + 1 by hi, 2q + 1 by lo.
struct Sums {
  int32x4_t v[8];
};
// `low` is where rows 0-7 begin, `high` rows 8-15.
static inline Sums sums_from(int32_t low, int32_t high) {
  const int32x4_t zero = vdupq_n_s32(0);
  const int32x4_t l = vtrn1q_s32(zero, vdupq_n_s32(low));
  const int32x4_t h = vtrn1q_s32(zero, vdupq_n_s32(high));
  return {{l, l, l, l, h, h, h, h}};
}
// Adds the products of group g.
template <int g>
[[gnu::always_inline]] static inline void sums_add(Sums& sums, const int8x16_t (&w)[kGroup], const Planes& x) {
  for (int q = 0; q < 8; ++q) sums.v[q] = vmmlaq_s32(sums.v[q], w[q], x.v[g]);
}
static inline I sums_total(const Sums& sums) {
  I r;
  for (int q = 0; q < 4; ++q) {
    const int32x4_t hi = vuzp1q_s32(sums.v[2 * q], sums.v[2 * q + 1]);
    const int32x4_t lo = vuzp2q_s32(sums.v[2 * q], sums.v[2 * q + 1]);
    r.v[q] = vmlaq_n_s32(lo, hi, 128);
  }
  return r;
}

// isum[t] = kColumns columns of expanded weights times kRows rows of activations, whose blocks are `stride` int16
// apart; `first` is 0, or 16 for the second half of a block. One plane after the other; rows in pairs.
template <int kColumns, int kRows>
[[gnu::always_inline]] static inline void tile_products(const int8_t* weights, const int16_t* ints, int64_t stride,
                                                        int first, I (&isum)[kRows]) {
  if constexpr (kRows == 1) {
    Sums sums = sums_from(0, 0);
    const auto* x = reinterpret_cast<const int8_t*>(ints) + 2 * first;
    for (int g = 0; g < kColumns / 8; ++g) {
      const int8x16_t both = vld1q_s8(x + 16 * g);
      for (int q = 0; q < 8; ++q) sums.v[q] = vmmlaq_s32(sums.v[q], vld1q_s8(weights + 16 * (8 * g + q)), both);
    }
    isum[0] = sums_total(sums);
  } else {
    constexpr int kPairs = kRows / 2;
    static_assert(kRows % 2 == 0);
    int32x4_t sums[kPairs][8];  // row 2q by t, 2q by t + 1, 2q + 1 by t, 2q + 1 by t + 1
    for (auto& pair : sums) {
      for (int32x4_t& sum : pair) sum = vdupq_n_s32(0);
    }
    for (int plane = 0; plane < 2; ++plane) {
      const auto* x = reinterpret_cast<const int8_t*>(ints) + 2 * first + (plane == 0 ? 0 : 8);
      for (int g = 0; g < kColumns / 8; ++g) {
        int8x16_t values[kPairs];
        for (int p = 0; p < kPairs; ++p) {
          const int8_t* row = x + 4 * p * stride + 16 * g;
          values[p] = vcombine_s8(vld1_s8(row), vld1_s8(row + 2 * stride));
        }
        for (int q = 0; q < 8; ++q) {
          const int8x16_t w = vld1q_s8(weights + 16 * (8 * g + q));
          for (int p = 0; p < kPairs; ++p) sums[p][q] = vmmlaq_s32(sums[p][q], w, values[p]);
        }
      }
      if (plane == 1) break;
      for (auto& pair : sums) {
        for (int32x4_t& sum : pair) sum = vshlq_n_s32(sum, 7);
      }
    }
    for (int p = 0; p < kPairs; ++p) {
      for (int q = 0; q < 4; ++q) {
        isum[2 * p].v[q] = vuzp1q_s32(sums[p][2 * q], sums[p][2 * q + 1]);
        isum[2 * p + 1].v[q] = vuzp2q_s32(sums[p][2 * q], sums[p][2 * q + 1]);
      }
    }
  }
}
