// The vector types of the kernels on Advanced SIMD (Armv8): four 128-bit registers each. Same results as
// simd_portable.inl. Quantised products are not here: dot_sdot.inl, dot_smmla.inl.

struct F {
  float32x4_t v[4];
};
struct I {
  int32x4_t v[4];
};

#define CARAT_QUADS for (int i = 0; i < 4; ++i)

static inline F f_set(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {{v, v, v, v}};
}
static inline F f_load(const float* p) {
  F r;
  CARAT_QUADS r.v[i] = vld1q_f32(p + 4 * i);
  return r;
}
static inline void f_store(float* p, F a) { CARAT_QUADS vst1q_f32(p + 4 * i, a.v[i]); }
static inline F f_add(F a, F b) {
  CARAT_QUADS a.v[i] = vaddq_f32(a.v[i], b.v[i]);
  return a;
}
static inline F f_sub(F a, F b) {
  CARAT_QUADS a.v[i] = vsubq_f32(a.v[i], b.v[i]);
  return a;
}
static inline F f_mul(F a, F b) {
  CARAT_QUADS a.v[i] = vmulq_f32(a.v[i], b.v[i]);
  return a;
}
static inline F f_div(F a, F b) {
  CARAT_QUADS a.v[i] = vdivq_f32(a.v[i], b.v[i]);
  return a;
}
static inline F f_fma(F a, F b, F c) {
  CARAT_QUADS c.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
  return c;
}
// The second operand where either is NaN: fmax would keep NaN.
static inline F f_max(F a, F b) {
  CARAT_QUADS a.v[i] = vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]);
  return a;
}
static inline F f_min(F a, F b) {
  CARAT_QUADS a.v[i] = vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]);
  return a;
}
// The one order in which sixteen lanes are added: halves of eight, four, two and one.
static inline float f_sum(F a) {
  const float32x4_t four = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
static inline float f_largest(F a) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.v[0], a.v[1]), vmaxq_f32(a.v[2], a.v[3])));
}
// The bits of |a|: as integers they are in the order of the numbers, infinity and then NaN above all others.
static inline I f_magnitude(F a) {
  I r;
  CARAT_QUADS r.v[i] = vandq_s32(vreinterpretq_s32_f32(a.v[i]), vdupq_n_s32(0x7fffffff));
  return r;
}
static inline F f_binade(F a) {
  CARAT_QUADS a.v[i] = vreinterpretq_f32_s32(vandq_s32(vreinterpretq_s32_f32(a.v[i]), vdupq_n_s32(0x7f800000)));
  return a;
}
static inline F f_factor(F a) { return f_div(f_set(4096.0f), a); }
static inline I i_max(I a, I b) {
  CARAT_QUADS a.v[i] = vmaxq_s32(a.v[i], b.v[i]);
  return a;
}
static inline int32_t i_sum(I a) { return vaddvq_s32(vaddq_s32(vaddq_s32(a.v[0], a.v[1]), vaddq_s32(a.v[2], a.v[3]))); }
static inline int32_t i_largest(I a) {
  return vmaxvq_s32(vmaxq_s32(vmaxq_s32(a.v[0], a.v[1]), vmaxq_s32(a.v[2], a.v[3])));
}

// NaN becomes 0 here, not the least integer: whatever follows it is NaN by other ways.
static inline I f_round(F a) {
  I r;
  CARAT_QUADS r.v[i] = vcvtnq_s32_f32(a.v[i]);
  return r;
}
static inline F i_float(I a) {
  F r;
  CARAT_QUADS r.v[i] = vcvtq_f32_s32(a.v[i]);
  return r;
}
static inline F i_pow2(I a) {
  F r;
  CARAT_QUADS r.v[i] = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(a.v[i], vdupq_n_s32(127)), 23));
  return r;
}

static inline F f_load_f16(const void* p) {
  const auto* halves = static_cast<const __fp16*>(p);
  const float16x8_t low = vld1q_f16(halves);
  const float16x8_t high = vld1q_f16(halves + 8);
  return {{vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low), vcvt_f32_f16(vget_low_f16(high)),
           vcvt_high_f32_f16(high)}};
}
static inline F f_load_bf16(const void* p) {
  const auto* halves = static_cast<const uint16_t*>(p);
  const uint16x8_t low = vld1q_u16(halves);
  const uint16x8_t high = vld1q_u16(halves + 8);
  return {{vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(low), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(low, 16)),
           vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(high), 16)),
           vreinterpretq_f32_u32(vshll_high_n_u16(high, 16))}};
}
static inline void f_store_f16(uint16_t* p, F a) {
  vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(a.v[0]), a.v[1])));
  vst1q_u16(p + 8, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(a.v[2]), a.v[3])));
}

static inline I i_load_i8(const uint8_t* p) {
  const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(p));
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes));
  const int16x8_t high = vmovl_high_s8(bytes);
  return {{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)}};
}
static inline I i_load_u8(const uint8_t* p) {
  const uint8x16_t bytes = vld1q_u8(p);
  const auto low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes)));
  const auto high = vreinterpretq_s16_u16(vmovl_high_u8(bytes));
  return {{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)}};
}

#undef CARAT_QUADS
