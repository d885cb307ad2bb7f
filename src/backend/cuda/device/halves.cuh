// Activations as halves (half_params.h): how pairs are stored, and what becomes of a product's sums.
#pragma once

#include "backend/cuda/device/math.cuh"
#include "backend/cuda/device/rounding.cuh"
#include "backend/cuda/half_params.h"

namespace carat::cuda {

CARAT_DEVICE float low_half(uint32_t word) { return half_to_float(static_cast<uint16_t>(word)); }
CARAT_DEVICE float high_half(uint32_t word) { return half_to_float(static_cast<uint16_t>(word >> 16)); }

struct alignas(8) Words2Of {
  uint32_t x, y;
};
CARAT_DEVICE float larger(float a, float b) { return a > b ? a : b; }

// A row's weights are relative to the largest score up to now, or to one that was at most so much less (of an exponent of 2): sums are seldom scaled.
inline constexpr float kLeeway = 4.0f;
// That score, of which four lanes each know `top` of the new ones; returns what the sums up to now are multiplied by. Each row decides by itself: what it
// comes to does not depend on others of its warp.
CARAT_DEVICE float raise_largest(float top, float& largest) {
  const float before = largest;
  top = larger(top, from_lane_xor(top, 1));
  top = larger(top, from_lane_xor(top, 2));
  if (top > before + kLeeway) largest = top;
  return exp2_near(before - largest);
}

// Where element (row, column) lies.
CARAT_DEVICE int64_t half_at(const Halves& h, int row, int column) {
  return ((static_cast<int64_t>(column / 64) * h.groups + row / 8) * 8 + column % 64 / 8) * 64 + row % 8 * 8 + column % 8;
}

// Two neighbours, the first of an even column.
CARAT_DEVICE void put_halves_at(const Halves& h, uint16_t* at, float a, float b) {
  a = a * h.scale, b = b * h.scale;
  const uint32_t first = pack_halves(a, b);
  *reinterpret_cast<uint32_t*>(at) = first;
  if (h.planes == 2) {
    *reinterpret_cast<uint32_t*>(at + h.plane) = pack_halves(a - low_half(first), b - high_half(first));
  }
}

CARAT_DEVICE void put_halves(const Halves& h, int row, int column, float a, float b) {
  put_halves_at(h, h.data + half_at(h, row, column), a, b);
}

CARAT_DEVICE void split_octet(const float* value, float scale, uint32_t* first, uint32_t* second) {
  CARAT_UNROLL for (int i = 0; i < 4; ++i) {
    const float a = value[2 * i] * scale, b = value[2 * i + 1] * scale;
    first[i] = pack_halves(a, b);
    second[i] = pack_halves(a - low_half(first[i]), b - high_half(first[i]));
  }
}

// Eight neighbours, the first of a column that is a multiple of 8.
CARAT_DEVICE void put_octet(const RowsOut& to, int row, int column, const float* value) {
  if (to.halves.data != nullptr) {
    const Halves& h = to.halves;
    uint16_t* at = h.data + half_at(h, row, column);
    uint32_t first[4], second[4];
    split_octet(value, h.scale, first, second);
    *reinterpret_cast<Words4*>(at) = {first[0], first[1], first[2], first[3]};
    if (h.planes == 2) *reinterpret_cast<Words4*>(at + h.plane) = {second[0], second[1], second[2], second[3]};
  }
  if (to.floats != nullptr) {
    auto* at = reinterpret_cast<Words4*>(to.floats + static_cast<int64_t>(row) * to.stride + column);
    at[0] = {float_bits(value[0]), float_bits(value[1]), float_bits(value[2]), float_bits(value[3])};
    at[1] = {float_bits(value[4]), float_bits(value[5]), float_bits(value[6]), float_bits(value[7])};
  }
}

CARAT_DEVICE void put_pair(const RowsOut& to, int row, int column, float a, float b) {
  if (to.halves.data != nullptr) put_halves(to.halves, row, column, a, b);
  if (to.floats != nullptr) *reinterpret_cast<Floats2*>(to.floats + static_cast<int64_t>(row) * to.stride + column) = {a, b};
}

// gelu to 20 bits: x / (1 + exp(-2 u)).
CARAT_DEVICE float gelu_near(float g) {
  const float cubic = fma_rn((g * g) * g, 0.044715f, g);
  return g * inverse_near(1.0f + exp2_near(cubic * -2.302208198144325f));
}

// To 11 bits: x (1 + tanh(u)) / 2.
CARAT_DEVICE float gelu_rough(float g) {
  const float cubic = fma_rn((g * g) * g, 0.044715f, g);
  const float half = 0.5f * g;
  return fma_rn(half, tanh_rough(cubic * 0.7978845608028654f), half);
}

// Of one head: nine groups of 8 columns of 16 patches, as fragments.
CARAT_DEVICE void store_head(const VisionHeads& h, int which, int row0, int lane, const float (*value)[4]) {
  const int kind = which / h.heads, head = which % h.heads;
  for (int plane = 0; plane < h.planes; ++plane) {
    uint32_t words[2 * kHeadSteps][2];  // of 8 columns: rows g, rows g + 8
    CARAT_UNROLL for (int j = 0; j < 2 * kHeadSteps; ++j) {
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        if (j >= kHeadGroups) {
          words[j][half] = 0;
          continue;
        }
        const float a = value[j][2 * half], b = value[j][2 * half + 1];
        const uint32_t first = pack_halves(a, b);
        words[j][half] = plane == 0 ? first : pack_halves(a - low_half(first), b - high_half(first));
      }
    }
    if (kind != 0 && h.cores != 0) {
      uint8_t* tile = h.keys + plane * h.key_plane + (static_cast<int64_t>(head) * (h.padded / kVisionKeys) + row0 / kVisionKeys) * kVisionStageBytes;
      const int group = row0 % kVisionKeys / 8;
      CARAT_UNROLL for (int j = 0; j < 2 * kHeadSteps; ++j) {
        CARAT_UNROLL for (int half = 0; half < 2; ++half) {
          if (kind == 1) {
            *reinterpret_cast<uint32_t*>(tile + (group + half) * (kHeadSteps * 256) + j * 128 + lane * 4) = words[j][half];
          } else if (j < kHeadGroups) {
            *reinterpret_cast<uint32_t*>(tile + kVisionKeyBytes + j * 1024 + (group + half) * 128 + lane * 4) = transpose_8x8(words[j][half]);
          }
        }
      }
      continue;
    }
    if (kind == 2) {
      uint8_t* to = h.keys + plane * h.key_plane +
                    (static_cast<int64_t>(head) * (h.padded / kVisionKeys) + row0 / kVisionKeys) * kVisionStageBytes +
                    kVisionKeyBytes + row0 % kVisionKeys / 16 * (kHeadGroups * 256) + lane * 8;
      CARAT_UNROLL for (int j = 0; j < kHeadGroups; ++j) {
        const uint32_t b0 = transpose_8x8(words[j][0]), b1 = transpose_8x8(words[j][1]);
        *reinterpret_cast<uint64_t*>(to + j * 256) = static_cast<uint64_t>(b1) << 32 | b0;
      }
      continue;
    }
    uint8_t* to = kind == 0 ? h.queries + plane * h.query_plane +
                                  (static_cast<int64_t>(head) * (h.padded / 16) + row0 / 16) * (kHeadSteps * 512)
                            : h.keys + plane * h.key_plane +
                                  (static_cast<int64_t>(head) * (h.padded / kVisionKeys) + row0 / kVisionKeys) * kVisionStageBytes +
                                  row0 % kVisionKeys / 16 * (kHeadSteps * 512);
    CARAT_UNROLL for (int s = 0; s < kHeadSteps; ++s) {
      const uint32_t w00 = words[2 * s][0], w10 = words[2 * s][1], w01 = words[2 * s + 1][0], w11 = words[2 * s + 1][1];
      auto* at = reinterpret_cast<Words4*>(to + s * 512 + lane * 16);
      if (kind == 0) {
        *at = {w00, w10, w01, w11};
      } else {
        *at = {w00, w01, w10, w11};
      }
    }
  }
}

// The best logit that a thread has met of two rows, row0 + lane / 4 and eight below; ids come in ascending order.
struct BestOfRows {
  uint32_t order[2];  // order_of_logit's upper half
  int id[2];
  CARAT_METHOD void begin() {
    CARAT_UNROLL for (int half = 0; half < 2; ++half) order[half] = 0, id[half] = 0;
  }
  CARAT_METHOD void meet(int half, float logit, int at) {
    const auto of = static_cast<uint32_t>(order_of_logit(logit, 0) >> 32);
    if (of > order[half]) order[half] = of, id[half] = at;
  }
  // Of a warp's 16 rows from row0 on: four lanes have columns of each.
  CARAT_METHOD void leave(const HalfGemmParams& p, int row0, int lane) const {
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      uint64_t key = order[half] == 0 ? 0 : static_cast<uint64_t>(order[half]) << 32 | static_cast<uint32_t>(~id[half]);
      CARAT_UNROLL for (int width = 1; width < 4; width *= 2) {
        const uint64_t other = from_lane_xor(key, width);
        key = other > key ? other : key;
      }
      const int row = row0 + (lane >> 2) + 8 * half;
      if ((lane & 3) == 0 && row < p.rows && key != 0) atomic_max(p.best + row, key);
    }
  }
};

// The sums of 16 rows x kGroups of 8 outputs, as mma leaves them with a warp: acc[4 j + e], j of 8 outputs.
template <HalfKind kKind, int kGroups = kHalfGroups>
CARAT_DEVICE void half_epilogue(const HalfGemmParams& p, const float* acc, int row0, int output_tile, int lane, int split = 0,
                                BestOfRows* best = nullptr) {
  const int g = lane >> 2, t = lane & 3, first = output_tile * kGroups * 8;
  if constexpr (kKind == HalfKind::kHeads) {
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      const int which = output_tile * 2 + half;
      if (which >= 3 * p.heads.heads) continue;
      const float scale = which < p.heads.heads ? p.heads.query_scale : p.heads.key_scale;
      float value[kHeadGroups][4];
      CARAT_UNROLL for (int j = 0; j < kHeadGroups; ++j) {
        const auto bias = load<Floats2>(p.bias + first + half * kHeadColumns + 8 * j + 2 * t);
        CARAT_UNROLL for (int e = 0; e < 4; ++e) {
          const bool there = row0 + g + e / 2 * 8 < p.rows;
          const float sum = fma_rn(acc[(half * kHeadGroups + j) * 4 + e], p.factor, e % 2 == 0 ? bias.x : bias.y);
          value[j][e] = there ? sum * scale : 0.0f;
        }
      }
      store_head(p.heads, which, row0, lane, value);
    }
  } else if constexpr (kKind == HalfKind::kGated) {
    // Rows that are not there too: cores are filled up.
    auto* own = reinterpret_cast<uint16_t*>(p.gated.pieces) + core_at(p.gated, row0 + g, 2 * t);
    const int64_t chunk = core_at(p.gated, 0, 64), plane = core_plane(p.gated);
    const auto gates = [&](const auto& gelu, bool two) {
      CARAT_UNROLL for (int j = 0; j < kGroups / 2; ++j) {
        const int octet = first / 16 + j;
        if (16 * octet >= p.outputs) break;
        uint16_t* at = own + octet / 8 * chunk + octet % 8 * 64;
        CARAT_UNROLL for (int half = 0; half < 2; ++half) {
          const float *gate = acc + 8 * j + 2 * half, *up = gate + 4;
          put_bf16(at + 512 * half, plane, two, gelu(gate[0]) * up[0], gelu(gate[1]) * up[1]);
        }
      }
    };
    if (p.gated.core_planes == 1) {  // which have eight bits
      gates([](float x) { return gelu_rough(x); }, false);
    } else {
      gates([](float x) { return gelu_near(x); }, true);
    }
  } else if constexpr (kKind == HalfKind::kBest) {
    CARAT_UNROLL for (int j = 0; j < kGroups; ++j) {
      const int output = first + 8 * j + 2 * t;
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const float *logit = acc + 4 * j + 2 * half;
        if (output < p.outputs) best->meet(half, logit[0], output);
        if (output + 1 < p.outputs) best->meet(half, logit[1], output + 1);
      }
    }
    if (p.out != nullptr) half_epilogue<HalfKind::kText, kGroups>(p, acc, row0, output_tile, lane);
  } else if constexpr (kKind == HalfKind::kText) {
    if (p.group_step == 1 && first + 8 * kGroups <= p.outputs && (p.out_stride & 1) == 0) {
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const int row = row0 + g + 8 * half;
        if (row >= p.rows) continue;
        float* out = p.out + (static_cast<int64_t>(split) * p.rows + row) * p.out_stride + p.group_first * kTileRows + first + 2 * t;
        CARAT_UNROLL for (int j = 0; j < kGroups; ++j) {
          *reinterpret_cast<Floats2*>(out + 8 * j) = {acc[4 * j + 2 * half], acc[4 * j + 2 * half + 1]};
        }
      }
      return;
    }
    CARAT_UNROLL for (int j = 0; j < kGroups; ++j) {
      const int group = output_tile * kGroups + j;
      if (group >= p.w_groups) continue;
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const int row = row0 + g + 8 * half;
        if (row >= p.rows) continue;
        float* out = p.out + (static_cast<int64_t>(split) * p.rows + row) * p.out_stride +
                     (group * p.group_step + p.group_first) * kTileRows + 2 * t;
        const int left = p.outputs - (group * kTileRows + 2 * t);
        if (left > 1 && (p.out_stride & 1) == 0) {
          *reinterpret_cast<Floats2*>(out) = {acc[4 * j + 2 * half], acc[4 * j + 2 * half + 1]};
          continue;
        }
        if (left > 0) out[0] = acc[4 * j + 2 * half];
        if (left > 1) out[1] = acc[4 * j + 2 * half + 1];
      }
    }
  } else if constexpr (kKind == HalfKind::kGelu || kKind == HalfKind::kGelu2 || kKind == HalfKind::kGeluRows) {
    // A kernel for each form: with all three in one the code would not fit the instruction cache.
    const Halves& h = p.to.halves;
    Floats2 biases[kGroups];  // all asked for at once
    CARAT_UNROLL for (int j = 0; j < kGroups; ++j) {
      biases[j] = {0.0f, 0.0f};
      if (first + 8 * j < p.outputs) biases[j] = load<Floats2>(p.bias + first + 8 * j + 2 * t);
    }
    uint16_t* own = h.data + (row0 + g) / 8 * 512 + (row0 + g) % 8 * 8 + 2 * t;  // and 512 further, eight rows below
    CARAT_UNROLL for (int j = 0; j < kGroups; ++j) {
      const int column = first + 8 * j + 2 * t;
      if (column >= p.outputs) continue;
      const Floats2 bias = biases[j];
      uint16_t* at = own + column / 64 * h.groups * 512 + column % 64 / 8 * 64;
      CARAT_UNROLL for (int half = 0; half < 2; ++half) {
        const int row = row0 + g + 8 * half;
        if (row >= p.rows) continue;
        const float a = fma_rn(acc[4 * j + 2 * half], p.factor, bias.x), b = fma_rn(acc[4 * j + 2 * half + 1], p.factor, bias.y);
        if constexpr (kKind == HalfKind::kGelu) {
          *reinterpret_cast<uint32_t*>(at + half * 512) = pack_halves(gelu_rough(a) * h.scale, gelu_rough(b) * h.scale);
        } else if constexpr (kKind == HalfKind::kGelu2) {
          put_halves_at(h, at + half * 512, gelu_near(a), gelu_near(b));
        } else {
          *reinterpret_cast<Floats2*>(p.to.floats + static_cast<int64_t>(row) * p.to.stride + column) = {gelu_near(a), gelu_near(b)};
        }
      }
    }
  } else {
    CARAT_UNROLL for (int half = 0; half < 2; ++half) {
      const int row = row0 + g + 8 * half;
      if (row >= p.rows) continue;
      const int64_t at = static_cast<int64_t>(row) * p.out_stride + first + 2 * t;
      Floats2 base[kGroups], biases[kGroups];  // all asked for at once
      CARAT_UNROLL for (int j = 0; j < kGroups; ++j) {
        base[j] = biases[j] = {0.0f, 0.0f};
        if (p.bias != nullptr && first + 8 * j < p.outputs) biases[j] = load<Floats2>(p.bias + first + 8 * j + 2 * t);
        if constexpr (kKind == HalfKind::kAdd) {
          if (first + 8 * j < p.outputs) base[j] = load<Floats2>(p.base + at + 8 * j);
        }
      }
      CARAT_UNROLL for (int j = 0; j < kGroups; ++j) {
        const int column = first + 8 * j + 2 * t;
        if (column >= p.outputs) continue;
        const Floats2 bias = biases[j];
        const float a = fma_rn(acc[4 * j + 2 * half], p.factor, bias.x), b = fma_rn(acc[4 * j + 2 * half + 1], p.factor, bias.y);
        *reinterpret_cast<Floats2*>(p.out + at + 8 * j) = {base[j].x + a, base[j].y + b};
      }
    }
  }
}

}  // namespace carat::cuda
