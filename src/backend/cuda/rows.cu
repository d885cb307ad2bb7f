// What happens to one row between two products: a block for each row.
#include "backend/cuda/device/rounding.cuh"
#include "backend/cuda/device/rope.cuh"
#include "backend/cuda/device/tiles.cuh"

namespace carat::cuda {

struct EmbedRow {
  const TileMatrix& table;
  int id, width;
  float scale;
  float* out;

  template <TileType kType>
  CARAT_METHOD void run() const {
    const int group = id / kTileRows;
    for (int i = thread_index(); i < width; i += kRowThreads) {
      const uint8_t* tile = table.data + (static_cast<int64_t>(group) * table.chunks + i / kTileColumns) *
                                             tile_format(kType).tile_bytes();
      out[i] = tile_element_of<kType>(tile, id % kTileRows, i % kTileColumns) * scale;
    }
  }
};

// embed: a token's row, or an image's; the angles of its position; the first layer's input.
CARAT_KERNEL(embed_rows, EmbedParams, kRowThreads, 1) {
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  const int row = static_cast<int>(blockIdx.x);
  const RowInfo info = p.rows[row];
  float* hidden = p.hidden + static_cast<int64_t>(row) * p.width;
  int id = info.token;
  if (id >= p.from_slot) id = p.slots[id - p.from_slot];
  if (info.token < p.from_slot && info.token >= p.image_row) {
    const float* image = p.embeddings + static_cast<int64_t>(info.token - p.image_row) * p.width;
    for (int i = thread_index(); i < p.width; i += kRowThreads) hidden[i] = image[i];
  } else {
    for_type(p.table.type, EmbedRow{p.table, id, p.width, p.scale, hidden});
  }
  for (int i = thread_index(); i < 2 * p.half; i += kRowThreads) {
    const int kind = i / p.half, j = i % p.half;
    const int64_t at = static_cast<int64_t>(row) * p.half + j;
    rope_angle(static_cast<double>(info.position) * p.frequencies[kind][j], p.cosines[kind] + at, p.sines[kind] + at);
  }
  block_barrier();
  write_normed_row(p.out, row, hidden, p.norm, p.width, p.epsilon, scratch);
}

// A thread's columns i, i + 128, ... are those that its warp rounds to blocks: so a row of up to 2,048 stays in registers, and all
// that it reads is asked for at once.
inline constexpr int kRowValues = 16;

CARAT_DEVICE float sum_of_squares(const float* values, float* scratch) {
  float squares = 0.0f;
  CARAT_UNROLL for (int k = 0; k < kRowValues; ++k) squares = fma_rn(values[k], values[k], squares);
  return block_halves(squares, scratch);
}

CARAT_DEVICE void close_narrow_row(const CloseParams& p, int row, float* scratch) {
  const float* y = p.projected + static_cast<int64_t>(row) * p.width;
  float* hidden = p.hidden + static_cast<int64_t>(row) * p.width;
  float value[kRowValues], h[kRowValues], post[kRowValues], next[kRowValues];
  const int thread = thread_index();
  CARAT_UNROLL for (int k = 0; k < kRowValues; ++k) {
    const int i = thread + k * kRowThreads;
    const bool there = i < p.width;
    value[k] = there ? y[i] : 0.0f;
    for (int split = 1; split < p.splits; ++split) {
      if (there) value[k] = value[k] + y[split * p.split_stride + i];
    }
    h[k] = there ? hidden[i] : 0.0f;
    post[k] = there ? p.post_norm[i] : 0.0f;
    next[k] = there && p.next_norm != nullptr ? p.next_norm[i] : 0.0f;
  }
  const float inverse = inverse_rms(sum_of_squares(value, scratch), p.width, p.epsilon);
  CARAT_UNROLL for (int k = 0; k < kRowValues; ++k) {
    const int i = thread + k * kRowThreads;
    if (i >= p.width) continue;
    h[k] = h[k] + (value[k] * inverse) * post[k];
    hidden[i] = h[k];
  }
  if (p.next_norm == nullptr) return;
  const float factor = inverse_rms(sum_of_squares(h, scratch), p.width, p.epsilon);
  constexpr int kAtOnce = 3;  // blocks, so that none waits for its own
  CARAT_UNROLL for (int first = 0; first < kRowValues; first += kAtOnce) {
    if (first * 4 >= p.out.chunks * kTileBlocks) break;
    if (p.out.integers != 0) {
      RoundedBlock r[kAtOnce];
      CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
        r[k] = round_value(first + k < kRowValues ? h[least(first + k, kRowValues - 1)] * next[least(first + k, kRowValues - 1)] : 0.0f);
      }
      CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
        const int block = thread / 32 + 4 * (first + k);
        if (block < p.out.chunks * kTileBlocks) put_block(p.out, row, block, r[k]);
      }
    }
    if (p.out.floats != 0) {
      CARAT_UNROLL for (int k = 0; k < kAtOnce; ++k) {
        const int i = thread + (first + k) * kRowThreads;
        if (first + k < kRowValues && i < p.out.chunks * kTileColumns) {
          store_float(p.out, row, i, (h[least(first + k, kRowValues - 1)] * factor) * next[least(first + k, kRowValues - 1)]);
        }
      }
    }
  }
  if (thread == 0) p.out.factors[row] = factor;
}

CARAT_KERNEL(close_rows, CloseParams, kRowThreads, 4) {
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  const int row = static_cast<int>(blockIdx.x);
  if (p.width <= kRowValues * kRowThreads) return close_narrow_row(p, row, scratch);
  const float* y = p.projected + static_cast<int64_t>(row) * p.width;
  float* hidden = p.hidden + static_cast<int64_t>(row) * p.width;
  float squares = 0.0f;
  for (int i = thread_index(); i < p.width; i += kRowThreads) squares = fma_rn(y[i], y[i], squares);
  const float inverse = inverse_rms(block_halves(squares, scratch), p.width, p.epsilon);
  for (int i = thread_index(); i < p.width; i += kRowThreads) hidden[i] = hidden[i] + (y[i] * inverse) * p.post_norm[i];
  block_barrier();
  if (p.next_norm != nullptr) write_normed_row(p.out, row, hidden, p.next_norm, p.width, p.epsilon, scratch);
}

CARAT_KERNEL(last_rows, LastParams, kRowThreads, 1) {
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  const int row = static_cast<int>(blockIdx.x);
  const float* hidden = p.hidden + static_cast<int64_t>(p.wanted[row]) * p.width;
  if (p.normed == nullptr) return write_normed_row(p.out, row, hidden, p.norm, p.width, p.epsilon, scratch);
  float squares = 0.0f;
  for (int i = thread_index(); i < p.width; i += kRowThreads) squares = fma_rn(hidden[i], hidden[i], squares);
  const float inverse = inverse_rms(block_halves(squares, scratch), p.width, p.epsilon);
  for (int i = thread_index(); i < p.width; i += kRowThreads)
    p.normed[static_cast<int64_t>(row) * p.width + i] = (hidden[i] * inverse) * p.norm[i];
}

CARAT_KERNEL(round_rows, RoundParams, kRowThreads, 1) {
  const int row = static_cast<int>(blockIdx.x);
  const float* values = p.values + static_cast<int64_t>(row) * p.out.columns;
  const auto value = [&](int i) { return values[i]; };
  write_row(p.out, row, 1.0f, value, value);
}

// gate and up lie in groups of 8 outputs, in turn.
CARAT_KERNEL(gate_rows, GatedParams, kRowThreads, 1) {
  const int row = static_cast<int>(blockIdx.x);
  const float* products = p.products + static_cast<int64_t>(row) * 2 * p.out.columns;
  const auto value = [&](int i) {
    const int at = i / kTileRows * 2 * kTileRows + i % kTileRows;
    return gelu(products[at]) * products[at + kTileRows];
  };
  write_row(p.out, row, 1.0f, value, value);
}

// A warp for each head: norm, rope, the query's scale; keys and values into the cache.
CARAT_KERNEL(prepare_heads, HeadsParams, 512, 1) {
  const int row = static_cast<int>(blockIdx.x);
  const int lane = lane_index();
  const int E = p.head_size, half = E / 2;
  const RowInfo info = p.rows[row];
  float* qkv = p.qkv + static_cast<int64_t>(row) * (p.heads + 2 * p.kv_heads) * E;
  const int page = page_of(p.pages + p.begin[info.seq], p.count[info.seq], info.position);
  const int slot = info.position % kKeysPerPage;
  for (int head = warp_index(); head < p.heads + p.kv_heads; head += block_threads() / 32) {
    float* x = qkv + head * E;
    const float* weight = head < p.heads ? p.q_norm : p.k_norm;
    float value[8], own[8], cosine[4], sine[4];  // of element lane + 32 k: all asked for at once
    CARAT_UNROLL for (int k = 0; k < 8; ++k) {
      const bool there = lane + 32 * k < E;
      value[k] = there ? x[lane + 32 * k] : 0.0f;
      own[k] = there ? weight[lane + 32 * k] : 0.0f;
    }
    CARAT_UNROLL for (int k = 0; k < 4; ++k) {
      const bool there = lane + 32 * k < half;
      cosine[k] = there ? p.cosines[static_cast<int64_t>(row) * half + lane + 32 * k] : 0.0f;
      sine[k] = there ? p.sines[static_cast<int64_t>(row) * half + lane + 32 * k] : 0.0f;
    }
    float partial[4];  // partial sum lane + 32 k of the 128
    CARAT_UNROLL for (int k = 0; k < 4; ++k) partial[k] = fma_rn(value[k + 4], value[k + 4], fma_rn(value[k], value[k], 0.0f));
    const float squares = warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3]));
    const float inverse = inverse_rms(squares, E, p.epsilon);
    const int64_t base = (static_cast<int64_t>(page) * p.kv_heads + head - p.heads) * kKeysPerPage * E;
    const auto store_key = [&](int e, float key) {
      p.k_cache[base + (e / 8 * kKeysPerPage + slot) * 8 + e % 8] = float_to_half(key);
    };
    const int across = half / 32;  // element lane + 32 k turns with lane + 32 (k + across)
    CARAT_UNROLL for (int k = 0; k < 4; ++k) {
      if (k >= across) continue;
      float other = 0.0f, other_own = 0.0f;
      CARAT_UNROLL for (int j = 1; j < 8; ++j) {
        if (j == k + across) other = value[j], other_own = own[j];
      }
      const float a = (value[k] * inverse) * own[k];
      const float b = (other * inverse) * other_own;
      const int j = lane + 32 * k;
      const float first = fma_rn(a, cosine[k], -(b * sine[k]));
      const float second = fma_rn(b, cosine[k], a * sine[k]);
      if (head < p.heads) {
        x[j] = first * p.query_scale;
        x[half + j] = second * p.query_scale;
      } else {
        store_key(j, clamp_to_half(first));
        store_key(half + j, clamp_to_half(second));
      }
    }
  }
  for (int i = thread_index(); i < p.kv_heads * E; i += block_threads()) {
    const int head = i / E, e = i % E;
    p.v_cache[((static_cast<int64_t>(page) * p.kv_heads + head) * kKeysPerPage + slot) * E + e] =
        float_to_half(clamp_to_half(qkv[(p.heads + p.kv_heads) * E + i]));
  }
}

}  // namespace carat::cuda
