// What happens to one row between two products: a block for each row.
#include "backend/cuda/device/heads.cuh"
#include "backend/cuda/device/rounding.cuh"
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

// What the host says of a step, where copying it would make both wait: it is asked for before the step before has ended.
CARAT_KERNEL(take_step, TakeParams, kTakeThreads, 1) {
  next_may_begin();
  Words4 v[kTakeBytes / 16 / kTakeThreads];
  const auto at = [&](int i) { return (thread_index() + i * kTakeThreads) * 16; };
  CARAT_UNROLL for (int i = 0; i < kTakeBytes / 16 / kTakeThreads; ++i) {
    v[i] = {};
    if (at(i) < p.bytes) v[i] = load<Words4>(p.from + at(i));
  }
  previous_wait();
  CARAT_UNROLL for (int i = 0; i < kTakeBytes / 16 / kTakeThreads; ++i) {
    if (at(i) < p.bytes) *reinterpret_cast<Words4*>(p.to + at(i)) = v[i];
  }
}

// embed: a token's row, or an image's; the angles of its position; the first layer's input.
CARAT_KERNEL(embed_rows, EmbedParams, kRowThreads, 1) {
  previous_wait();
  next_may_begin();  // what follows reads the step's data before it waits: they are there now
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

// A thread holds columns i, i + kCloseThreads, ...: those that its warp rounds to blocks. Sums over a row are its first 128 threads',
// from shared memory.
CARAT_DEVICE float sum_of_squares(const float* values, int width) {
  float squares = 0.0f;
  if (thread_index() < kRowThreads) {
    CARAT_UNROLL_8 for (int i = thread_index(); i < width; i += kRowThreads) squares = fma_rn(values[i], values[i], squares);
  }
  return squares;
}

template <int kValues>
CARAT_DEVICE void close_row(const CloseParams& p, int row) {
  auto* scratch = reinterpret_cast<float*>(shared_memory());  // [kRowThreads]
  float* values = scratch + kRowThreads;                      // [D]
  const int thread = thread_index();
  float value[kValues], h[kValues], post[kValues], next[kValues];
  next_may_begin();
  CARAT_UNROLL for (int k = 0; k < kValues; ++k) {
    const int i = thread + k * kCloseThreads;
    post[k] = i < p.width ? p.post_norm[i] : 0.0f;
    next[k] = i < p.width && p.next_norm != nullptr ? p.next_norm[i] : 0.0f;
  }
  previous_wait();
  const float* y = p.projected + static_cast<int64_t>(row) * p.width;
  float* hidden = p.hidden + static_cast<int64_t>(row) * p.width;
  CARAT_UNROLL for (int k = 0; k < kValues; ++k) {
    const int i = thread + k * kCloseThreads;
    value[k] = i < p.width ? y[i] : 0.0f;
    h[k] = i < p.width ? hidden[i] : 0.0f;
  }
  constexpr int kAtOnce = 4;  // parts
  for (int split = 1; split < p.splits; split += kAtOnce) {
    float part[kAtOnce][kValues];
    CARAT_UNROLL for (int s = 0; s < kAtOnce; ++s) {
      CARAT_UNROLL for (int k = 0; k < kValues; ++k) {
        const int i = thread + k * kCloseThreads;
        part[s][k] = split + s < p.splits && i < p.width ? y[(split + s) * p.split_stride + i] : 0.0f;
      }
    }
    CARAT_UNROLL for (int s = 0; s < kAtOnce; ++s) {
      if (split + s >= p.splits) break;
      CARAT_UNROLL for (int k = 0; k < kValues; ++k) value[k] = value[k] + part[s][k];
    }
  }
  CARAT_UNROLL for (int k = 0; k < kValues; ++k) {
    const int i = thread + k * kCloseThreads;
    if (i < p.width) values[i] = value[k];
  }
  block_barrier();
  const float inverse = inverse_rms(block_halves(sum_of_squares(values, p.width), scratch), p.width, p.epsilon);
  CARAT_UNROLL for (int k = 0; k < kValues; ++k) {
    const int i = thread + k * kCloseThreads;
    if (i >= p.width) continue;
    h[k] = h[k] + (value[k] * inverse) * post[k];
    hidden[i] = h[k];
    values[i] = h[k];
  }
  if (p.next_norm == nullptr) return;
  block_barrier();
  const float squares = sum_of_squares(values, p.width);
  if (p.out.integers != 0) {
    constexpr int kBlocks = kValues % 4 == 0 ? 4 : 2;  // at once, so that none waits for its own
    CARAT_UNROLL for (int first = 0; first < kValues; first += kBlocks) {
      RoundedBlock r[kBlocks];
      CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) r[k] = round_value(h[first + k] * next[first + k]);
      CARAT_UNROLL for (int k = 0; k < kBlocks; ++k) {
        const int block = warp_index() + (first + k) * (kCloseThreads / 32);
        if (block < p.out.chunks * kTileBlocks) put_block(p.out, row, block, r[k]);
      }
    }
  }
  const float factor = inverse_rms(block_halves(squares, scratch), p.width, p.epsilon);
  if (p.out.floats != 0) {
    CARAT_UNROLL for (int k = 0; k < kValues; ++k) {
      const int i = thread + k * kCloseThreads;
      if (i < p.out.chunks * kTileColumns) store_float(p.out, row, i, (h[k] * factor) * next[k]);
    }
  }
  if (thread == 0) p.out.factors[row] = factor;
}

CARAT_KERNEL(close_rows, CloseParams, kCloseThreads, 2) { close_row<kCloseValues>(p, static_cast<int>(blockIdx.x)); }
CARAT_KERNEL(close_wide_rows, CloseParams, kCloseThreads, 1) { close_row<kWideCloseValues>(p, static_cast<int>(blockIdx.x)); }

CARAT_KERNEL(last_rows, LastParams, kRowThreads, 1) {
  next_may_begin();
  previous_wait();
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  const int row = static_cast<int>(blockIdx.x);
  const float* hidden = p.hidden + static_cast<int64_t>(p.wanted[row]) * p.width;
  if (p.best != nullptr && thread_index() == 0) p.best[row] = 0;
  if (p.normed == nullptr) return write_normed_row(p.out, row, hidden, p.norm, p.width, p.epsilon, scratch);
  float squares = 0.0f;
  for (int i = thread_index(); i < p.width; i += kRowThreads) squares = fma_rn(hidden[i], hidden[i], squares);
  const float inverse = inverse_rms(block_halves(squares, scratch), p.width, p.epsilon);
  for (int i = thread_index(); i < p.width; i += kRowThreads)
    p.normed[static_cast<int64_t>(row) * p.width + i] = (hidden[i] * inverse) * p.norm[i];
}

CARAT_KERNEL(round_rows, RoundParams, kRowThreads, 1) {
  next_may_begin();
  previous_wait();
  const int row = static_cast<int>(blockIdx.x);
  const float* values = p.values + static_cast<int64_t>(row) * p.out.columns;
  const auto value = [&](int i) { return values[i]; };
  write_row(p.out, row, 1.0f, value, value);
}

// gate and up lie in groups of 8 outputs, in turn.
CARAT_KERNEL(gate_rows, GatedParams, kRowThreads, 1) {
  next_may_begin();
  previous_wait();
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
  next_may_begin();
  previous_wait();
  const int row = static_cast<int>(blockIdx.x);
  const int E = p.head_size;
  float* qkv = p.qkv + static_cast<int64_t>(row) * (p.heads + 2 * p.kv_heads) * E;
  const int place = p.places[row], page = place / kKeysPerPage, slot = place % kKeysPerPage;
  for (int head = warp_index(); head < p.heads + p.kv_heads; head += block_threads() / 32) {
    float* x = qkv + head * E;
    const float* weight = head < p.heads ? p.q_norm : p.k_norm;
    const int64_t base = (static_cast<int64_t>(page) * p.kv_heads + head - p.heads) * kKeysPerPage * E;
    const auto store_key = [&](int e, float key) {
      p.k_cache[base + (e / 8 * kKeysPerPage + slot) * 8 + e % 8] = float_to_half(key);
    };
    const int64_t angle = static_cast<int64_t>(row) * (E / 2);
    turn_head(x, weight, p.cosines + angle, p.sines + angle, E, p.epsilon,
              [&](int e, float value) {
                if (head < p.heads) {
                  x[e] = value * p.query_scale;
                } else {
                  store_key(e, clamp_to_half(value));
                }
              });
  }
  for (int i = thread_index(); i < p.kv_heads * E; i += block_threads()) {
    const int head = i / E, e = i % E;
    p.v_cache[((static_cast<int64_t>(page) * p.kv_heads + head) * kKeysPerPage + slot) * E + e] =
        float_to_half(clamp_to_half(qkv[(p.heads + p.kv_heads) * E + i]));
  }
}

}  // namespace carat::cuda
