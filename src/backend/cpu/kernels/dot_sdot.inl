// Products of signed bytes by sdot (Armv8.2 dot product): four columns of four rows at a time, each plane of the
// activations by itself. A block's activations are [hi of 32 columns][lo of 32 columns].

static constexpr int kGroup = 4;  // columns that one instruction adds up

// Where the planes of columns 8i .. 8i + 7 lie in a block.
constexpr int hi_offset(int i) { return 8 * i; }
constexpr int lo_offset(int i) { return 32 + 8 * i; }

// The activations of a block.
struct Planes {
  int8x16_t hi[2], lo[2];
};
static inline Planes load_planes(const int16_t* ints) {
  const auto* p = reinterpret_cast<const int8_t*>(ints);
  return {{vld1q_s8(p), vld1q_s8(p + 16)}, {vld1q_s8(p + 32), vld1q_s8(p + 48)}};
}

// Sums of products of sixteen rows: rows 4q .. 4q + 3 in hi[q] and lo[q].
struct Sums {
  int32x4_t hi[4], lo[4];
};
// `low` is where rows 0-7 begin, `high` rows 8-15.
static inline Sums sums_from(int32_t low, int32_t high) {
  const int32x4_t zero = vdupq_n_s32(0);
  const int32x4_t l = vdupq_n_s32(low);
  const int32x4_t h = vdupq_n_s32(high);
  return {{zero, zero, zero, zero}, {l, l, h, h}};
}
// Adds the products of group g.
template <int g>
[[gnu::always_inline]] static inline void sums_add(Sums& sums, const int8x16_t (&w)[kGroup], const Planes& x) {
  for (int q = 0; q < 4; ++q) {
    sums.hi[q] = vdotq_laneq_s32(sums.hi[q], w[q], x.hi[g / 4], g % 4);
    sums.lo[q] = vdotq_laneq_s32(sums.lo[q], w[q], x.lo[g / 4], g % 4);
  }
}
static inline I sums_total(const Sums& sums) {
  I r;
  for (int q = 0; q < 4; ++q) r.v[q] = vmlaq_n_s32(sums.lo[q], sums.hi[q], 128);
  return r;
}

// isum[t] = kColumns columns of expanded weights times kRows rows of activations, whose blocks are `stride` int16
// apart; `first` is 0, or 16 for the second half of a block. One plane after the other, so that a row needs half of the
// registers.
template <int kColumns, int kRows>
[[gnu::always_inline]] static inline void tile_products(const int8_t* weights, const int16_t* ints, int64_t stride,
                                                        int first, I (&isum)[kRows]) {
  for (int t = 0; t < kRows; ++t) isum[t] = {{vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}};
  for (int plane = 0; plane < 2; ++plane) {
    const auto* x = reinterpret_cast<const int8_t*>(ints) + (plane == 0 ? hi_offset(0) : lo_offset(0)) + first;
    for (int half = 0; half < kColumns / 16; ++half) {
      int8x16_t values[kRows];
      for (int t = 0; t < kRows; ++t) values[t] = vld1q_s8(x + 2 * t * stride + 16 * half);
      each_constant<0, 4>([&](auto g) __attribute__((always_inline)) {
        for (int q = 0; q < 4; ++q) {
          const int8x16_t w = vld1q_s8(weights + 16 * (16 * half + 4 * g.value + q));
          for (int t = 0; t < kRows; ++t) isum[t].v[q] = vdotq_laneq_s32(isum[t].v[q], w, values[t], g.value);
        }
      });
    }
    if (plane == 1) break;
    for (int t = 0; t < kRows; ++t) {
      for (int q = 0; q < 4; ++q) isum[t].v[q] = vshlq_n_s32(isum[t].v[q], 7);
    }
  }
}
