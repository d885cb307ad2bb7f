// What happens to one row between two products: norms, residuals, the rounding of activations, rope.
// Widths are multiples of 16 (checked at load).

static void rms_norm(const float* x, const float* weight, float* out, int64_t count, float epsilon) {
  F squares = f_set(0.0f);
  for (int64_t i = 0; i < count; i += 16) {
    const F v = f_load(x + i);
    squares = f_fma(v, v, squares);
  }
  const float mean = f_sum(squares) / static_cast<float>(count);
  const F inverse = f_set(1.0f / __builtin_sqrtf(mean + epsilon));
  for (int64_t i = 0; i < count; i += 16) f_store(out + i, f_mul(f_mul(f_load(x + i), inverse), f_load(weight + i)));
}

static void add_row(float* x, const float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) f_store(x + i, f_add(f_load(x + i), f_load(y + i)));
}

static void gelu_mul(const float* gate, const float* up, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) f_store(out + i, f_mul(f_gelu(f_load(gate + i)), f_load(up + i)));
}

static void exp_row(const float* x, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) f_store(out + i, f_exp(f_load(x + i)));
}

// Rounds a block of 32 values to integers of at most `limit`; returns the scale, 0 for a block of zeros.
static inline float round_block(const float* x, int16_t* ints, float limit) {
  const F low = f_load(x);
  const F high = f_load(x + 16);
  const float magnitude = f_largest(f_max(f_abs(low), f_abs(high)));
  const bool zero = !(magnitude > 1e-30f);
  const F inverse = f_set(zero ? 0.0f : limit / magnitude);
  i_store_i16(ints, f_round(f_mul(low, inverse)));
  i_store_i16(ints + 16, f_round(f_mul(high, inverse)));
  return zero ? 0.0f : magnitude / limit;
}

static void round_row(const Activations& x, int64_t row) {
  const int64_t columns = x.columns;
  if (columns % kBlock != 0) return;
  const float* values = x.values + row * columns;
  int16_t* ints = x.ints + row * columns;
  float* scales = x.scales + row * (columns / kBlock);
  for (int64_t i = 0; i < columns; i += kBlock) scales[i / kBlock] = round_block(values + i, ints + i, x.limit);
  int32_t* sums = x.sums + row * (columns / 16);
  for (int64_t i = 0; i < columns; i += 16) {
    int32_t sum = 0;
    for (int j = 0; j < 16; ++j) sum += ints[i + j];
    sums[i / 16] = sum;
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
