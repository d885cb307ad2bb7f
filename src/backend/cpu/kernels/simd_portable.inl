// The vector types of the kernels in plain C++: the definition that the SIMD versions equal bit for bit.
//   F 16 floats   I 16 int32   W 32 int16, lane 2r + p holding row r, parity p
// Everything here is static: no symbol of an ISA's object may be picked by the linker for another.

// Not inlined: unrolled sixteen lanes wide in every kernel, these would cost a minute of compilation and run no faster.
#define CARAT_OUTLINE [[gnu::noinline]] static

struct F {
  float v[16];
};
struct I {
  int32_t v[16];
};
struct W {
  uint16_t v[32];
};

#define CARAT_LANES(n) for (int i = 0; i < (n); ++i)

static inline F f_set(float x) {
  F r;
  CARAT_LANES(16) r.v[i] = x;
  return r;
}
CARAT_OUTLINE F f_load(const float* p) {
  F r;
  CARAT_LANES(16) r.v[i] = p[i];
  return r;
}
CARAT_OUTLINE void f_store(float* p, F a) { CARAT_LANES(16) p[i] = a.v[i]; }
static inline F f_add(F a, F b) {
  CARAT_LANES(16) a.v[i] = a.v[i] + b.v[i];
  return a;
}
static inline F f_sub(F a, F b) {
  CARAT_LANES(16) a.v[i] = a.v[i] - b.v[i];
  return a;
}
CARAT_OUTLINE F f_mul(F a, F b) {
  CARAT_LANES(16) a.v[i] = a.v[i] * b.v[i];
  return a;
}
static inline F f_div(F a, F b) {
  CARAT_LANES(16) a.v[i] = a.v[i] / b.v[i];
  return a;
}
CARAT_OUTLINE F f_fma(F a, F b, F c) {
  CARAT_LANES(16) c.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  return c;
}
// As vmaxps and vminps: the second operand where either is NaN. So clamping with the number as second operand keeps
// NaN.
static inline F f_max(F a, F b) {
  CARAT_LANES(16) a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return a;
}
static inline F f_min(F a, F b) {
  CARAT_LANES(16) a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return a;
}
// The one order in which sixteen lanes are added: halves of eight, four, two and one.
CARAT_OUTLINE float f_sum(F a) {
  for (int width = 8; width > 0; width /= 2) CARAT_LANES(width) a.v[i] = a.v[i] + a.v[i + width];
  return a.v[0];
}
// Of numbers that are none of them NaN.
CARAT_OUTLINE float f_largest(F a) {
  CARAT_LANES(16) a.v[0] = a.v[i] > a.v[0] ? a.v[i] : a.v[0];
  return a.v[0];
}
// The bits of |a|: as integers they are in the order of the numbers, infinity and then NaN above all others.
static inline I f_magnitude(F a) {
  I r;
  __builtin_memcpy(&r, &a, sizeof r);
  CARAT_LANES(16) r.v[i] &= 0x7fffffff;
  return r;
}
static inline I i_max(I a, I b) {
  CARAT_LANES(16) a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return a;
}
// The largest power of two that is not above |a|; 0 below the normal numbers.
static inline F f_binade(F a) {
  uint32_t bits[16];
  __builtin_memcpy(bits, &a, sizeof a);
  CARAT_LANES(16) bits[i] &= 0x7f800000u;
  __builtin_memcpy(&a, bits, sizeof a);
  return a;
}
// 4096 / a, of a power of two from 2^-114 to 2^127.
static inline F f_factor(F a) { return f_div(f_set(4096.0f), a); }
static inline int32_t i_sum(I a) {
  int32_t sum = 0;
  CARAT_LANES(16) sum += a.v[i];
  return sum;
}
static inline int32_t i_largest(I a) {
  CARAT_LANES(16) a.v[0] = a.v[i] > a.v[0] ? a.v[i] : a.v[0];
  return a.v[0];
}

// Nearest, ties to even, for |a| < 2^22; the least integer for NaN, as the processors have it.
static inline I f_round(F a) {
  I r;
  CARAT_LANES(16) {
    const float magic = 12582912.0f;
    const float shifted = a.v[i] + magic;
    r.v[i] = a.v[i] == a.v[i] ? static_cast<int32_t>(shifted - magic) : -2147483647 - 1;
  }
  return r;
}
CARAT_OUTLINE F i_float(I a) {
  F r;
  CARAT_LANES(16) r.v[i] = static_cast<float>(a.v[i]);
  return r;
}
// 2^a for -126 <= a <= 127.
static inline F i_pow2(I a) {
  F r;
  CARAT_LANES(16) {
    const int32_t bits = (a.v[i] + 127) << 23;
    __builtin_memcpy(&r.v[i], &bits, 4);
  }
  return r;
}

static inline float f_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  uint32_t bits;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    __builtin_memcpy(&bits, &magnitude, 4);
    bits |= sign;
  } else if (exponent == 31) {
    bits = sign | 0x7f800000u | (mantissa << 13);
  } else {
    bits = sign | ((exponent + 112u) << 23) | (mantissa << 13);
  }
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
CARAT_OUTLINE F f_load_f16(const void* p) {
  const auto* halves = static_cast<const uint16_t*>(p);
  F r;
  CARAT_LANES(16) r.v[i] = f_half(halves[i]);
  return r;
}
static inline F f_load_bf16(const void* p) {
  const auto* halves = static_cast<const uint16_t*>(p);
  F r;
  CARAT_LANES(16) {
    const uint32_t bits = static_cast<uint32_t>(halves[i]) << 16;
    __builtin_memcpy(&r.v[i], &bits, 4);
  }
  return r;
}
// To nearest even; NaN stays NaN. The caller has clamped finite numbers to the range.
CARAT_OUTLINE void f_store_f16(uint16_t* p, F a) {
  CARAT_LANES(16) {
    uint32_t bits;
    __builtin_memcpy(&bits, &a.v[i], 4);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t half;
    if (magnitude > 0x7f800000u) {
      half = 0x7e00u;
    } else if (magnitude < 0x38800000u) {
      float scaled;
      __builtin_memcpy(&scaled, &magnitude, 4);
      scaled = scaled + 0.5f;
      uint32_t scaled_bits;
      __builtin_memcpy(&scaled_bits, &scaled, 4);
      half = scaled_bits - 0x3f000000u;
    } else {
      half = ((magnitude + 0xfffu + ((magnitude >> 13) & 1u)) >> 13) - (112u << 10);
    }
    p[i] = static_cast<uint16_t>(sign | half);
  }
}

static inline I i_set(int32_t x) {
  I r;
  CARAT_LANES(16) r.v[i] = x;
  return r;
}
static inline I i_add(I a, I b) {
  CARAT_LANES(16) a.v[i] += b.v[i];
  return a;
}
static inline I i_load_i8(const uint8_t* p) {
  I r;
  CARAT_LANES(16) r.v[i] = static_cast<int8_t>(p[i]);
  return r;
}
static inline I i_load_u8(const uint8_t* p) {
  I r;
  CARAT_LANES(16) r.v[i] = p[i];
  return r;
}
static inline void i_store_i16(int16_t* p, I a) { CARAT_LANES(16) p[i] = static_cast<int16_t>(a.v[i]); }

CARAT_OUTLINE W w_load(const uint8_t* p) {
  W r;
  __builtin_memcpy(r.v, p, 64);
  return r;
}
static inline W w_held(W a) { return a; }
static inline void w_store(void* p, W a) { __builtin_memcpy(p, a.v, 64); }
CARAT_OUTLINE W w_and(W a, uint16_t mask) {
  CARAT_LANES(32) a.v[i] = static_cast<uint16_t>(a.v[i] & mask);
  return a;
}
CARAT_OUTLINE W w_or(W a, W b) {
  CARAT_LANES(32) a.v[i] = static_cast<uint16_t>(a.v[i] | b.v[i]);
  return a;
}
CARAT_OUTLINE W w_sub(W a, int16_t x) {
  CARAT_LANES(32) a.v[i] = static_cast<uint16_t>(a.v[i] - x);
  return a;
}
template <int kBits>
CARAT_OUTLINE W w_shr(W a) {
  CARAT_LANES(32) a.v[i] = static_cast<uint16_t>(a.v[i] >> kBits);
  return a;
}
CARAT_OUTLINE W w_max(W a, W b) {
  CARAT_LANES(32) a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return a;
}
// Row r: low[r] * factor[r] and high[r] * factor[r], rounded; the products are exact and below 2^15.
CARAT_OUTLINE W w_rounded(F low, F high, F factor) {
  const I a = f_round(f_mul(low, factor));
  const I b = f_round(f_mul(high, factor));
  W r;
  CARAT_LANES(32) r.v[i] = static_cast<uint16_t>((i % 2 == 0 ? a : b).v[i / 2]);
  return r;
}
// table[a] + 128 of the IQ4 formats; a holds 4-bit values.
CARAT_OUTLINE W w_table(W a) {
  CARAT_LANES(32) a.v[i] = kIq4Table[a.v[i]];
  return a;
}
// The pair of activations at x in every 32-bit lane.
CARAT_OUTLINE W w_pair(const int16_t* x) {
  W r;
  CARAT_LANES(32) r.v[i] = static_cast<uint16_t>(x[i & 1]);
  return r;
}
// acc[r] + w[2r] * x[2r] + w[2r+1] * x[2r+1], as signed 16-bit numbers.
CARAT_OUTLINE I w_dot(I acc, W w, W x) {
  CARAT_LANES(16) {
    acc.v[i] += static_cast<int16_t>(w.v[2 * i]) * static_cast<int16_t>(x.v[2 * i]) +
                static_cast<int16_t>(w.v[2 * i + 1]) * static_cast<int16_t>(x.v[2 * i + 1]);
  }
  return acc;
}

#undef CARAT_LANES
#undef CARAT_OUTLINE
