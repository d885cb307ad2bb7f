// One encode() a block type, the mirror of decode() in dequant.cc. Scales are rounded to their stored precision first,
// and the elements are then chosen for the rounded scales, so that their errors do not add up.
#include "formats/quantize.h"

#include <cstring>

#include "base/half.h"
#include "base/result.h"
#include "formats/quant_blocks.h"
#include "formats/quantize_fit.h"

namespace carat {
namespace {

using Floats = std::span<const float>;

void encode(const float* x, float& out) { out = *x; }

struct F16 {
  uint16_t bits;
};
void encode(const float* x, F16& out) { out.bits = float_to_f16(*x); }

struct BF16 {
  uint16_t bits;
};
void encode(const float* x, BF16& out) { out.bits = float_to_bf16(*x); }

// Rounds to a half, stores it and returns what was stored.
float store_half(float value, uint16_t& bits) {
  bits = float_to_f16(value);
  return f16_to_float(bits);
}

void store_five_bits(int element, int q, uint8_t (&qs)[16], uint8_t (&qh)[4]) {
  qs[element % 16] = static_cast<uint8_t>(qs[element % 16] | ((q & 15) << (element < 16 ? 0 : 4)));
  qh[element / 8] = static_cast<uint8_t>(qh[element / 8] | ((q >> 4) << (element % 8)));
}

void encode(const float* x, BlockQ4_0& out) {
  const float scale = inverse(store_half(extreme(Floats(x, 32)) / -8, out.d));
  for (int j = 0; j < 16; ++j) {
    out.qs[j] = static_cast<uint8_t>((round_clamp(x[j] * scale, -8, 7) + 8) |
                                     ((round_clamp(x[j + 16] * scale, -8, 7) + 8) << 4));
  }
}

void encode(const float* x, BlockQ5_0& out) {
  const float scale = inverse(store_half(extreme(Floats(x, 32)) / -16, out.d));
  for (int j = 0; j < 32; ++j) store_five_bits(j, round_clamp(x[j] * scale, -16, 15) + 16, out.qs, out.qh);
}

void encode(const float* x, BlockQ4_1& out) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float min = store_half(*low, out.m);
  const float scale = inverse(store_half((*high - min) / 15, out.d));
  for (int j = 0; j < 16; ++j) {
    out.qs[j] = static_cast<uint8_t>(round_clamp((x[j] - min) * scale, 0, 15) |
                                     (round_clamp((x[j + 16] - min) * scale, 0, 15) << 4));
  }
}

void encode(const float* x, BlockQ5_1& out) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float min = store_half(*low, out.m);
  const float scale = inverse(store_half((*high - min) / 31, out.d));
  for (int j = 0; j < 32; ++j) store_five_bits(j, round_clamp((x[j] - min) * scale, 0, 31), out.qs, out.qh);
}

void encode(const float* x, BlockQ8_0& out) {
  const float scale = inverse(store_half(std::abs(extreme(Floats(x, 32))) / 127, out.d));
  for (int j = 0; j < 32; ++j) out.qs[j] = static_cast<int8_t>(round_clamp(x[j] * scale, -127, 127));
}

void encode(const float* x, BlockIQ4_NL& out) {
  const float scale = inverse(store_half(extreme(Floats(x, 32)) / kIq4Values[0], out.d));
  for (int j = 0; j < 16; ++j) {
    out.qs[j] =
        static_cast<uint8_t>(nearest_of(kIq4Values, x[j] * scale) | (nearest_of(kIq4Values, x[j + 16] * scale) << 4));
  }
}

// The fits of all sub-blocks, with their largest scale and minimum.
template <int kSubs>
struct AffineFits {
  AffineFit subs[kSubs];
  float scale = 0;
  float min = 0;

  AffineFits(const float* x, int top) {
    constexpr size_t kSize = 256 / kSubs;
    for (int sub = 0; sub < kSubs; ++sub) {
      subs[sub] = fit_affine(Floats(x + static_cast<size_t>(sub) * kSize, kSize), top);
      scale = std::max(scale, subs[sub].scale);
      min = std::max(min, subs[sub].min);
    }
  }
};

void encode(const float* x, BlockQ2_K& out) {
  const AffineFits<16> fits(x, 3);
  const float d = store_half(fits.scale / 15, out.d);
  const float dmin = store_half(fits.min / 15, out.dmin);
  for (int sub = 0; sub < 16; ++sub) {
    const int scale = round_clamp(fits.subs[sub].scale * inverse(d), 0, 15);
    const int min = round_clamp(fits.subs[sub].min * inverse(dmin), 0, 15);
    out.scales[sub] = static_cast<uint8_t>(scale | (min << 4));
    for (int i = 16 * sub; i < 16 * sub + 16; ++i) {
      const int q = round_clamp((x[i] + dmin * static_cast<float>(min)) * inverse(d * static_cast<float>(scale)), 0, 3);
      uint8_t& packed = out.qs[32 * (i / 128) + i % 32];
      packed = static_cast<uint8_t>(packed | (q << (2 * (i / 32 % 4))));
    }
  }
}

// The fits of 16 sub-blocks, with the scale of the largest magnitude.
struct SymmetricFits {
  float subs[16];
  float peak;

  SymmetricFits(const float* x, int half) {
    for (int sub = 0; sub < 16; ++sub) subs[sub] = fit_scale(Floats(x + 16 * sub, 16), half);
    peak = extreme(subs);
  }
};

void encode(const float* x, BlockQ3_K& out) {
  const SymmetricFits fits(x, 4);
  const float d = store_half(fits.peak / -32, out.d);
  for (int sub = 0; sub < 16; ++sub) {
    const int scale = round_clamp(fits.subs[sub] * inverse(d), -32, 31);
    set_q3_scale(out.scales, sub, scale + 32);
    for (int i = 16 * sub; i < 16 * sub + 16; ++i) {
      const int q = round_clamp(x[i] * inverse(d * static_cast<float>(scale)), -4, 3) + 4;
      uint8_t& packed = out.qs[32 * (i / 128) + i % 32];
      packed = static_cast<uint8_t>(packed | ((q & 3) << (2 * (i / 32 % 4))));
      out.hmask[i % 32] = static_cast<uint8_t>(out.hmask[i % 32] | ((q >> 2) << (i / 32)));
    }
  }
}

// What Q4_K and Q5_K share. `put(element, q)` stores an element.
template <class Block, class Put>
void encode_affine_k(const float* x, int top, Block& out, Put put) {
  const AffineFits<8> fits(x, top);
  const float d = store_half(fits.scale / 63, out.d);
  const float dmin = store_half(fits.min / 63, out.dmin);
  for (int sub = 0; sub < 8; ++sub) {
    const int scale = round_clamp(fits.subs[sub].scale * inverse(d), 0, 63);
    const int min = round_clamp(fits.subs[sub].min * inverse(dmin), 0, 63);
    set_k_scale_min(out.scales, sub, scale, min);
    for (int i = 32 * sub; i < 32 * sub + 32; ++i) {
      put(i, round_clamp((x[i] + dmin * static_cast<float>(min)) * inverse(d * static_cast<float>(scale)), 0, top));
    }
  }
}

void encode(const float* x, BlockQ4_K& out) {
  encode_affine_k(x, 15, out, [&out](int i, int q) {
    uint8_t& packed = out.qs[32 * (i / 64) + i % 32];
    packed = static_cast<uint8_t>(packed | (q << (4 * (i / 32 % 2))));
  });
}

void encode(const float* x, BlockQ5_K& out) {
  encode_affine_k(x, 31, out, [&out](int i, int q) {
    uint8_t& packed = out.qs[32 * (i / 64) + i % 32];
    packed = static_cast<uint8_t>(packed | ((q & 15) << (4 * (i / 32 % 2))));
    out.qh[i % 32] = static_cast<uint8_t>(out.qh[i % 32] | ((q >> 4) << (i / 32)));
  });
}

void encode(const float* x, BlockQ6_K& out) {
  const SymmetricFits fits(x, 32);
  const float d = store_half(fits.peak / -128, out.d);
  for (int sub = 0; sub < 16; ++sub) {
    out.scales[sub] = static_cast<int8_t>(round_clamp(fits.subs[sub] * inverse(d), -128, 127));
    for (int i = 16 * sub; i < 16 * sub + 16; ++i) {
      const int q = round_clamp(x[i] * inverse(d * static_cast<float>(out.scales[sub])), -32, 31) + 32;
      uint8_t& low = out.ql[64 * (i / 128) + i % 64];
      uint8_t& high = out.qh[32 * (i / 128) + i % 32];
      low = static_cast<uint8_t>(low | ((q & 15) << (4 * (i / 64 % 2))));
      high = static_cast<uint8_t>(high | ((q >> 4) << (2 * (i / 32 % 4))));
    }
  }
}

void encode(const float* x, BlockIQ4_XS& out) {
  float scales[8];
  for (int sub = 0; sub < 8; ++sub) scales[sub] = extreme(Floats(x + 32 * sub, 32)) / kIq4Values[0];
  const float d = store_half(extreme(scales) / -32, out.d);
  for (int sub = 0; sub < 8; ++sub) {
    const int scale = round_clamp(scales[sub] * inverse(d), -32, 31);
    set_iq4_xs_scale(out, sub, scale + 32);
    const float to_grid = inverse(d * static_cast<float>(scale));
    for (int j = 0; j < 16; ++j) {
      const float* at = x + 32 * sub + j;
      out.qs[16 * sub + j] = static_cast<uint8_t>(nearest_of(kIq4Values, at[0] * to_grid) |
                                                  (nearest_of(kIq4Values, at[16] * to_grid) << 4));
    }
  }
}

template <class Block, int kElements>
void encode_all(const float* in, std::byte* out, int64_t elements) {
  for (int64_t i = 0; i < elements; i += kElements, out += sizeof(Block)) {
    Block block{};
    encode(in + i, block);
    std::memcpy(out, &block, sizeof(Block));
  }
}

}  // namespace

void quantize(DType type, const float* in, std::byte* out, int64_t elements) {
  CARAT_ASSERT(elements >= 0 && elements % dtype_info(type).block_elements == 0);
  switch (type) {
    case DType::kF32:
      return encode_all<float, 1>(in, out, elements);
    case DType::kF16:
      return encode_all<F16, 1>(in, out, elements);
    case DType::kBF16:
      return encode_all<BF16, 1>(in, out, elements);
    case DType::kQ4_0:
      return encode_all<BlockQ4_0, 32>(in, out, elements);
    case DType::kQ4_1:
      return encode_all<BlockQ4_1, 32>(in, out, elements);
    case DType::kQ5_0:
      return encode_all<BlockQ5_0, 32>(in, out, elements);
    case DType::kQ5_1:
      return encode_all<BlockQ5_1, 32>(in, out, elements);
    case DType::kQ8_0:
      return encode_all<BlockQ8_0, 32>(in, out, elements);
    case DType::kQ2_K:
      return encode_all<BlockQ2_K, 256>(in, out, elements);
    case DType::kQ3_K:
      return encode_all<BlockQ3_K, 256>(in, out, elements);
    case DType::kQ4_K:
      return encode_all<BlockQ4_K, 256>(in, out, elements);
    case DType::kQ5_K:
      return encode_all<BlockQ5_K, 256>(in, out, elements);
    case DType::kQ6_K:
      return encode_all<BlockQ6_K, 256>(in, out, elements);
    case DType::kIQ4_NL:
      return encode_all<BlockIQ4_NL, 32>(in, out, elements);
    case DType::kIQ4_XS:
      return encode_all<BlockIQ4_XS, 256>(in, out, elements);
  }
}

}  // namespace carat
