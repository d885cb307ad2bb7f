// The specification of ggml's tensor types in plain loops: one decode() a block type, from quant_blocks.h's layout to
// floats. Kernels compute the same numbers in other orders and with other instructions; they are right if they agree
// with this file. The build forbids contraction, so every operation below rounds on its own.
#include "formats/dequant.h"

#include <cstring>

#include "base/half.h"
#include "base/result.h"
#include "formats/quant_blocks.h"

namespace carat {
namespace {

void decode(const float& value, float* out) { *out = value; }

struct F16 {
  uint16_t bits;
};
void decode(const F16& value, float* out) { *out = f16_to_float(value.bits); }

struct BF16 {
  uint16_t bits;
};
void decode(const BF16& value, float* out) { *out = bf16_to_float(value.bits); }

void decode(const BlockQ4_0& block, float* out) {
  const float d = f16_to_float(block.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>((block.qs[j] & 15) - 8) * d;
    out[j + 16] = static_cast<float>((block.qs[j] >> 4) - 8) * d;
  }
}

void decode(const BlockQ4_1& block, float* out) {
  const float d = f16_to_float(block.d);
  const float m = f16_to_float(block.m);
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(block.qs[j] & 15) * d + m;
    out[j + 16] = static_cast<float>(block.qs[j] >> 4) * d + m;
  }
}

// Five-bit value of element 0..31 of a Q5_0 or Q5_1 block.
int five_bits(const uint8_t (&qs)[16], const uint8_t (&qh)[4], int element) {
  const int low = element < 16 ? qs[element] & 15 : qs[element - 16] >> 4;
  return low | (((qh[element / 8] >> (element % 8)) & 1) << 4);
}

void decode(const BlockQ5_0& block, float* out) {
  const float d = f16_to_float(block.d);
  for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(five_bits(block.qs, block.qh, j) - 16) * d;
}

void decode(const BlockQ5_1& block, float* out) {
  const float d = f16_to_float(block.d);
  const float m = f16_to_float(block.m);
  for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(five_bits(block.qs, block.qh, j)) * d + m;
}

void decode(const BlockQ8_0& block, float* out) {
  const float d = f16_to_float(block.d);
  for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(block.qs[j]) * d;
}

void decode(const BlockQ2_K& block, float* out) {
  const float d = f16_to_float(block.d);
  const float dmin = f16_to_float(block.dmin);
  for (int i = 0; i < 256; ++i) {
    const uint8_t packed = block.scales[i / 16];
    const float scale = d * static_cast<float>(packed & 15);
    const float min = dmin * static_cast<float>(packed >> 4);
    const int q = (block.qs[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
    out[i] = scale * static_cast<float>(q) - min;
  }
}

void decode(const BlockQ3_K& block, float* out) {
  const float d = f16_to_float(block.d);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(q3_scale(block.scales, i / 16) - 32);
    const int low = (block.qs[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
    const int high = (block.hmask[i % 32] >> (i / 32)) & 1;
    out[i] = scale * static_cast<float>((low | (high << 2)) - 4);
  }
}

void decode(const BlockQ4_K& block, float* out) {
  const float d = f16_to_float(block.d);
  const float dmin = f16_to_float(block.dmin);
  for (int sub = 0; sub < 8; ++sub) {
    const ScaleMin packed = k_scale_min(block.scales, sub);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    for (int l = 0; l < 32; ++l) {
      const int q = (block.qs[32 * (sub / 2) + l] >> (4 * (sub % 2))) & 15;
      out[32 * sub + l] = scale * static_cast<float>(q) - min;
    }
  }
}

void decode(const BlockQ5_K& block, float* out) {
  const float d = f16_to_float(block.d);
  const float dmin = f16_to_float(block.dmin);
  for (int sub = 0; sub < 8; ++sub) {
    const ScaleMin packed = k_scale_min(block.scales, sub);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    for (int l = 0; l < 32; ++l) {
      const int low = (block.qs[32 * (sub / 2) + l] >> (4 * (sub % 2))) & 15;
      const int high = (block.qh[l] >> sub) & 1;
      out[32 * sub + l] = scale * static_cast<float>(low | (high << 4)) - min;
    }
  }
}

void decode(const BlockQ6_K& block, float* out) {
  const float d = f16_to_float(block.d);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(block.scales[i / 16]);
    const int low = (block.ql[64 * (i / 128) + i % 64] >> (4 * (i / 64 % 2))) & 15;
    const int high = (block.qh[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
    out[i] = scale * static_cast<float>((low | (high << 4)) - 32);
  }
}

void decode(const BlockIQ4_NL& block, float* out) {
  const float d = f16_to_float(block.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(kIq4Values[block.qs[j] & 15]);
    out[j + 16] = d * static_cast<float>(kIq4Values[block.qs[j] >> 4]);
  }
}

void decode(const BlockIQ4_XS& block, float* out) {
  const float d = f16_to_float(block.d);
  for (int sub = 0; sub < 8; ++sub) {
    const float scale = d * static_cast<float>(iq4_xs_scale(block, sub) - 32);
    for (int j = 0; j < 16; ++j) {
      const uint8_t q = block.qs[16 * sub + j];
      out[32 * sub + j] = scale * static_cast<float>(kIq4Values[q & 15]);
      out[32 * sub + j + 16] = scale * static_cast<float>(kIq4Values[q >> 4]);
    }
  }
}

template <class Block, int kElements>
void decode_all(const std::byte* blocks, float* out, int64_t elements) {
  for (int64_t i = 0; i < elements; i += kElements, blocks += sizeof(Block)) {
    Block block;
    std::memcpy(&block, blocks, sizeof(Block));
    decode(block, out + i);
  }
}

}  // namespace

void dequantize(DType type, const std::byte* blocks, float* out, int64_t elements) {
  CARAT_ASSERT(elements >= 0 && elements % dtype_info(type).block_elements == 0);
  switch (type) {
    case DType::kF32:
      return decode_all<float, 1>(blocks, out, elements);
    case DType::kF16:
      return decode_all<F16, 1>(blocks, out, elements);
    case DType::kBF16:
      return decode_all<BF16, 1>(blocks, out, elements);
    case DType::kQ4_0:
      return decode_all<BlockQ4_0, 32>(blocks, out, elements);
    case DType::kQ4_1:
      return decode_all<BlockQ4_1, 32>(blocks, out, elements);
    case DType::kQ5_0:
      return decode_all<BlockQ5_0, 32>(blocks, out, elements);
    case DType::kQ5_1:
      return decode_all<BlockQ5_1, 32>(blocks, out, elements);
    case DType::kQ8_0:
      return decode_all<BlockQ8_0, 32>(blocks, out, elements);
    case DType::kQ2_K:
      return decode_all<BlockQ2_K, 256>(blocks, out, elements);
    case DType::kQ3_K:
      return decode_all<BlockQ3_K, 256>(blocks, out, elements);
    case DType::kQ4_K:
      return decode_all<BlockQ4_K, 256>(blocks, out, elements);
    case DType::kQ5_K:
      return decode_all<BlockQ5_K, 256>(blocks, out, elements);
    case DType::kQ6_K:
      return decode_all<BlockQ6_K, 256>(blocks, out, elements);
    case DType::kIQ4_NL:
      return decode_all<BlockIQ4_NL, 32>(blocks, out, elements);
    case DType::kIQ4_XS:
      return decode_all<BlockIQ4_XS, 256>(blocks, out, elements);
  }
}

}  // namespace carat
