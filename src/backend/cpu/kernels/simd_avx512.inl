// The vector types of the kernels on AVX-512 (F, BW, VL, VNNI): one 512-bit register each. Same results as
// simd_portable.inl.

struct F {
  __m512 v;
};
struct I {
  __m512i v;
};
struct W {
  __m512i v;
};

static inline F f_set(float x) { return {_mm512_set1_ps(x)}; }
static inline F f_load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void f_store(float* p, F a) { _mm512_storeu_ps(p, a.v); }
static inline F f_add(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline F f_sub(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline F f_mul(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline F f_div(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline F f_fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline F f_max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
static inline F f_min(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
// The one order in which sixteen lanes are added: halves of eight, four, two and one.
static inline float f_sum(F a) {
  const __m256 eight =
      _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.v), 1)));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
static inline float f_largest(F a) { return _mm512_reduce_max_ps(a.v); }
// The bits of |a|: as integers they are in the order of the numbers, infinity and then NaN above all others.
static inline I f_magnitude(F a) { return {_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7fffffff))}; }
static inline F f_binade(F a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7f800000)))};
}
static inline F f_factor(F a) {
  const __m512i exponents = _mm512_set1_epi32(static_cast<int>(266u << 23));
  return {_mm512_castsi512_ps(_mm512_sub_epi32(exponents, _mm512_castps_si512(a.v)))};
}
static inline I i_max(I a, I b) { return {_mm512_max_epi32(a.v, b.v)}; }
static inline int32_t i_sum(I a) { return _mm512_reduce_add_epi32(a.v); }
static inline int32_t i_largest(I a) { return _mm512_reduce_max_epi32(a.v); }

static inline I f_round(F a) { return {_mm512_cvtps_epi32(a.v)}; }
static inline F i_float(I a) { return {_mm512_cvtepi32_ps(a.v)}; }
static inline F i_pow2(I a) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(a.v, _mm512_set1_epi32(127)), 23))};
}

static inline F f_load_f16(const void* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
static inline F f_load_bf16(const void* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
static inline void f_store_f16(uint16_t* p, F a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

static inline I i_set(int32_t x) { return {_mm512_set1_epi32(x)}; }
static inline I i_add(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
static inline I i_load_i8(const uint8_t* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
static inline I i_load_u8(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
static inline void i_store_i16(int16_t* p, I a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v));
}

static inline W w_load(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
// Kept in its register: GCC would rather load it again for each use.
static inline W w_held(W a) {
  asm("" : "+v"(a.v));
  return a;
}
static inline void w_store(void* p, W a) { _mm512_storeu_si512(p, a.v); }
static inline W w_and(W a, uint16_t mask) {
  return {_mm512_and_si512(a.v, _mm512_set1_epi16(static_cast<int16_t>(mask)))};
}
static inline W w_or(W a, W b) { return {_mm512_or_si512(a.v, b.v)}; }
static inline W w_sub(W a, int16_t x) { return {_mm512_sub_epi16(a.v, _mm512_set1_epi16(x))}; }
template <int kBits>
static inline W w_shr(W a) {
  return {_mm512_srli_epi16(a.v, kBits)};
}
static inline W w_max(W a, W b) { return {_mm512_max_epu16(a.v, b.v)}; }
// Added to 1.5 * 2^23, the integer is what the sum's low bits are.
static inline W w_rounded(F low, F high, F factor) {
  const __m512 magic = _mm512_set1_ps(12582912.0f);
  const __m512i a = _mm512_castps_si512(_mm512_fmadd_ps(low.v, factor.v, magic));
  const __m512i b = _mm512_castps_si512(_mm512_fmadd_ps(high.v, factor.v, magic));
  return {_mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16))};
}
static inline W w_table(W a) {
  const __m512i table = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(kIq4Table)));
  const __m512i zero_high = _mm512_set1_epi16(static_cast<int16_t>(0x8000));
  return {_mm512_shuffle_epi8(table, _mm512_or_si512(a.v, zero_high))};
}
static inline W w_pair(const int16_t* x) {
  int32_t pair;
  __builtin_memcpy(&pair, x, 4);
  return {_mm512_set1_epi32(pair)};
}
static inline I w_dot(I acc, W w, W x) { return {_mm512_dpwssd_epi32(acc.v, w.v, x.v)}; }
