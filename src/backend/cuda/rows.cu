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

CARAT_KERNEL(close_rows, CloseParams, kRowThreads, 1) {
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  const int row = static_cast<int>(blockIdx.x);
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
    float partial[4];  // partial sum lane + 32 k of the 128
    CARAT_UNROLL for (int k = 0; k < 4; ++k) {
      partial[k] = 0.0f;
      for (int i = lane + 32 * k; i < E; i += 128) partial[k] = fma_rn(x[i], x[i], partial[k]);
    }
    const float squares = warp_halves((partial[0] + partial[2]) + (partial[1] + partial[3]));
    const float inverse = inverse_rms(squares, E, p.epsilon);
    const int64_t base = (static_cast<int64_t>(page) * p.kv_heads + head - p.heads) * kKeysPerPage * E;
    const auto store_key = [&](int e, float value) {
      p.k_cache[base + (e / 8 * kKeysPerPage + slot) * 8 + e % 8] = float_to_half(value);
    };
    for (int j = lane; j < half; j += 32) {
      const float a = (x[j] * inverse) * weight[j];
      const float b = (x[half + j] * inverse) * weight[half + j];
      const float cosine = p.cosines[static_cast<int64_t>(row) * half + j];
      const float sine = p.sines[static_cast<int64_t>(row) * half + j];
      const float first = fma_rn(a, cosine, -(b * sine));
      const float second = fma_rn(b, cosine, a * sine);
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
