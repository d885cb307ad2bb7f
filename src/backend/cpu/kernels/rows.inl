// What happens to one row between two products: norms, residuals, the rounding of activations, rope.
// Widths are multiples of 16 (checked at load).

// 1 / sqrt(mean of squares + epsilon): 128 partial sums, element i in i % 128, then their halves. NaN where the squares
// are not finite, so that what overflowed does not become zero.
static float inverse_rms(const float* x, int64_t count, float epsilon) {
  F part[8];
  for (F& p : part) p = f_set(0.0f);
  int64_t i = 0;
  for (; i + 128 <= count; i += 128) {
    for (int j = 0; j < 8; ++j) {
      const F v = f_load(x + i + 16 * j);
      part[j] = f_fma(v, v, part[j]);
    }
  }
  for (int j = 0; i < count; i += 16, ++j) {
    const F v = f_load(x + i);
    part[j] = f_fma(v, v, part[j]);
  }
  for (int width = 4; width > 0; width /= 2) {
    for (int j = 0; j < width; ++j) part[j] = f_add(part[j], part[j + width]);
  }
  const float mean = f_sum(part[0]) / static_cast<float>(count);
  return 1.0f / __builtin_sqrtf(mean + epsilon) + (mean - mean);
}

static void scale_row(const float* x, float factor, const float* weight, float* out, int64_t count) {
  const F f = f_set(factor);
  for (int64_t i = 0; i < count; i += 16) f_store(out + i, f_mul(f_mul(f_load(x + i), f), f_load(weight + i)));
}

static void rms_norm(const float* x, const float* weight, float* out, int64_t count, float epsilon) {
  scale_row(x, inverse_rms(x, count, epsilon), weight, out, count);
}

// x += norm(y)
static void add_normed(float* x, const float* y, const float* weight, int64_t count, float epsilon) {
  const F f = f_set(inverse_rms(y, count, epsilon));
  for (int64_t i = 0; i < count; i += 16) {
    f_store(x + i, f_add(f_load(x + i), f_mul(f_mul(f_load(y + i), f), f_load(weight + i))));
  }
}

static void gelu_mul(const float* gate, const float* up, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) f_store(out + i, f_mul(f_gelu(f_load(gate + i)), f_load(up + i)));
}

static void exp_row(const float* x, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) f_store(out + i, f_exp(f_load(x + i)));
}

static constexpr float kLimit = 16383;  // 15 bits

// Rounds block `block` of a row, its values in `low` and `high`: ints of at most kLimit, their scale and sums. A block
// of zeros has the scale 0; one that holds NaN or infinity has the scale NaN.
static inline void round_block(const Activations& x, int64_t row, int64_t block, F low, F high) {
  const int32_t bits = i_largest(i_max(f_magnitude(low), f_magnitude(high)));
  float magnitude;
  __builtin_memcpy(&magnitude, &bits, 4);
  float inverse = kLimit / magnitude;
  float scale = magnitude / kLimit;
  if (!(magnitude > 1e-30f) || bits >= 0x7f800000) {
    scale = bits >= 0x7f800000 ? __builtin_nanf("") : 0.0f;
    inverse = 0.0f;
    low = high = f_set(0.0f);
  }
  const I low_ints = f_round(f_mul(low, f_set(inverse)));
  const I high_ints = f_round(f_mul(high, f_set(inverse)));
  store_ints(x.ints + row * x.columns + block * kBlock, low_ints, high_ints);
  x.scales[row * (x.columns / kBlock) + block] = scale;
  int32_t* sums = x.sums + row * (x.columns / 16) + 2 * block;
  sums[0] = i_sum(low_ints);
  sums[1] = i_sum(high_ints);
  store_tiles(x, row, block, low_ints, high_ints, scale, sums[0] + sums[1]);
}

// Columns [begin, end) of a row, whole blocks.
static void round_columns(const Activations& x, int64_t row, int64_t begin, int64_t end) {
  const float* values = x.values + row * x.columns;
  for (int64_t i = begin; i < end; i += kBlock) {
    round_block(x, row, i / kBlock, f_load(values + i), f_load(values + i + 16));
  }
}

static void round_row(const Activations& x, int64_t row) {
  if (x.columns % kBlock == 0) round_columns(x, row, 0, x.columns);
}

// What the products of a stage read: rounded rows for quantised weights, float32 for others; tiles of the rounded ones
// where they are multiplied so.
struct Reads {
  bool ints, floats, tiles;
};

// Activations as those that read `rows` of them want them.
static inline Activations for_readers(Activations x, const Reads& reads, int64_t rows) {
  x.reads_tiles = x.tiles != nullptr && rows >= kLeastTiledRows && reads.tiles;
  return x;
}

// The input of the products that follow a norm. Rounding to blocks does not care for a common factor, so x * weight is
// rounded and 1 / rms multiplies the products; 16- and 32-bit weights take the row normalised.
static void norm_input(const float* x, const float* weight, const Activations& out, int64_t row, float epsilon,
                       Reads reads) {
  const float factor = inverse_rms(x, out.columns, epsilon);
  if (reads.floats) scale_row(x, factor, weight, out.values + row * out.columns, out.columns);
  if (!reads.ints) return;
  out.factors[row] = factor;
  for (int64_t i = 0; i < out.columns; i += kBlock) {
    round_block(out, row, i / kBlock, f_mul(f_load(x + i), f_load(weight + i)),
                f_mul(f_load(x + i + 16), f_load(weight + i + 16)));
  }
}

// Rotates the pairs (j, j + E/2) of one head by the angle of column j.
static void rope(float* head, const float* cosine, const float* sine, int64_t head_size) {
  const int64_t half = head_size / 2;
  for (int64_t j = 0; j < half; ++j) {
    const float a = head[j];
    const float b = head[half + j];
    head[j] = __builtin_fmaf(a, cosine[j], -(b * sine[j]));
    head[half + j] = __builtin_fmaf(b, cosine[j], a * sine[j]);
  }
}
