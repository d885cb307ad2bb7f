// The vision tower's rows: patches of pixels, layer norms, and squares of patches that become tokens. A warp for a row, eight
// neighbouring columns a lane; products are half_gemm.cu's, attention is in vision_attend.cu.
#include "backend/cuda/device/halves.cuh"

namespace carat::cuda {

// A thread for eight columns of a patch: channel, y, x.
CARAT_KERNEL(vision_patches, PatchesParams, 128, 1) {
  next_may_begin();
  previous_wait();
  const int octets = (p.columns + 7) / 8, area = p.patch * p.patch;
  const int item = static_cast<int>(blockIdx.x) * block_threads() + thread_index();
  const int row = item / octets, first = item % octets * 8;
  if (row >= p.side * p.side) return;
  float value[8];
  for (int i = 0; i < 8; ++i) {
    const int column = first + i, channel = column / area, y = column % area / p.patch, x = column % p.patch;
    const int64_t line = static_cast<int64_t>(channel) * p.size + row / p.side * p.patch + y;
    value[i] = column < p.columns ? p.pixels[line * p.size + row % p.side * p.patch + x] : 0.0f;
  }
  if (p.to.halves.data != nullptr) put_octet({p.to.halves, nullptr, 0}, row, first, value);
  if (p.to.floats == nullptr) return;
  for (int i = 0; i < 8 && first + i < p.columns; ++i) p.to.floats[static_cast<int64_t>(row) * p.to.stride + first + i] = value[i];
}

CARAT_DEVICE void load_octet(const float* from, float* to) {
  const Words4 low = load<Words4>(from), high = load<Words4>(from + 4);
  to[0] = bits_to_float(low.x), to[1] = bits_to_float(low.y), to[2] = bits_to_float(low.z), to[3] = bits_to_float(low.w);
  to[4] = bits_to_float(high.x), to[5] = bits_to_float(high.y), to[6] = bits_to_float(high.z), to[7] = bits_to_float(high.w);
}

// Halves of 8 rows leave in whole cores, through shared memory: one row's 16 bytes are half a sector, which memory takes far slower.
CARAT_KERNEL(vision_norm, LayerNormParams, 256, 3) {
  next_may_begin();
  previous_wait();
  const int row0 = static_cast<int>(blockIdx.x) * 8, row = row0 + warp_index(), lane = lane_index();
  uint8_t* cores = shared_memory();  // [plane][64 columns][8 cores][8 rows][16 bytes]
  const int chunks = (p.width + 63) / 64;
  const float* x = p.x + static_cast<int64_t>(least(row, p.rows - 1)) * p.width;
  float value[kVisionOctets][8];
  CARAT_UNROLL for (int k = 0; k < kVisionOctets; ++k) {
    const int column = (k * 32 + lane) * 8;
    CARAT_UNROLL for (int i = 0; i < 8; ++i) value[k][i] = 0.0f;
    if (column < p.width) load_octet(x + column, value[k]);
  }
  float sum = 0.0f;
  CARAT_UNROLL for (int k = 0; k < kVisionOctets; ++k) {
    CARAT_UNROLL for (int i = 0; i < 8; ++i) sum = sum + value[k][i];
  }
  const auto count = static_cast<float>(p.width);
  const float mean = div_rn(warp_halves(sum), count);
  float squares = 0.0f;
  CARAT_UNROLL for (int k = 0; k < kVisionOctets; ++k) {
    CARAT_UNROLL for (int i = 0; i < 8; ++i) {
      value[k][i] = value[k][i] - mean;
      if ((k * 32 + lane) * 8 < p.width) squares = fma_rn(value[k][i], value[k][i], squares);
    }
  }
  const float scale = inverse_rms(warp_halves(squares), p.width, p.epsilon);
  CARAT_UNROLL for (int k = 0; k < kVisionOctets; ++k) {
    const int column = (k * 32 + lane) * 8;
    if (column >= p.width) continue;
    float weight[8], bias[8];
    load_octet(p.weight + column, weight);
    load_octet(p.bias + column, bias);
    CARAT_UNROLL for (int i = 0; i < 8; ++i) value[k][i] = fma_rn(value[k][i] * scale, weight[i], bias[i]);
    if (p.to.halves.data == nullptr) {
      if (row < p.rows) put_octet(p.to, row, column, value[k]);
      continue;
    }
    uint32_t first[4], second[4];
    split_octet(value[k], p.to.halves.scale, first, second);
    uint8_t* at = cores + column / 8 * 128 + warp_index() * 16;
    *reinterpret_cast<Words4*>(at) = {first[0], first[1], first[2], first[3]};
    if (p.to.halves.planes == 2) *reinterpret_cast<Words4*>(at + chunks * 1024) = {second[0], second[1], second[2], second[3]};
  }
  if (p.to.halves.data == nullptr) return;
  block_barrier();
  const int octets = (p.width + 7) / 8 * 8;  // of 16 bytes
  for (int plane = 0; plane < p.to.halves.planes; ++plane) {
    for (int i = thread_index(); i < octets; i += 256) {
      uint16_t* to = p.to.halves.data + plane * p.to.halves.plane + half_at(p.to.halves, row0, i / 64 * 64) + i % 64 * 8;
      *reinterpret_cast<Words4*>(to) = load<Words4>(cores + plane * chunks * 1024 + i * 16);
    }
  }
}

CARAT_KERNEL(vision_pool, PoolParams, 256, 1) {
  next_may_begin();
  previous_wait();
  const int token = static_cast<int>(blockIdx.x) * 8 + warp_index(), lane = lane_index();
  if (token >= p.token_side * p.token_side) return;
  const int square = p.side / p.token_side;
  const int first = token / p.token_side * square * p.side + token % p.token_side * square;
  const float share = div_rn(1.0f, static_cast<float>(square * square));
  float value[kVisionOctets][8];
  float squares = 0.0f;
  CARAT_UNROLL for (int k = 0; k < kVisionOctets; ++k) {
    const int column = (k * 32 + lane) * 8;
    CARAT_UNROLL for (int i = 0; i < 8; ++i) value[k][i] = 0.0f;
    if (column >= p.width) continue;
    for (int n = 0; n < square * square; ++n) {
      float more[8];
      load_octet(p.x + static_cast<int64_t>(first + n / square * p.side + n % square) * p.width + column, more);
      CARAT_UNROLL for (int i = 0; i < 8; ++i) value[k][i] = value[k][i] + more[i];
    }
    CARAT_UNROLL for (int i = 0; i < 8; ++i) {
      value[k][i] = value[k][i] * share;
      squares = fma_rn(value[k][i], value[k][i], squares);
    }
  }
  const float inverse = inverse_rms(warp_halves(squares), p.width, 1e-6f);
  CARAT_UNROLL for (int k = 0; k < kVisionOctets; ++k) {
    const int column = (k * 32 + lane) * 8;
    if (column >= p.width) continue;
    float weight[8];
    load_octet(p.weight + column, weight);
    CARAT_UNROLL for (int i = 0; i < 8; ++i) value[k][i] = (value[k][i] * inverse) * weight[i];
    put_octet(p.to, token, column, value[k]);
  }
}

}  // namespace carat::cuda
