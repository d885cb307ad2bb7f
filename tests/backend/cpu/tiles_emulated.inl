// AMX's tiles in plain C++ (kernels/tiles_amx.inl has the instructions), as Intel's manual describes tdpbf16ps: float32 chains
// over the even and the odd columns, added to the tile in the end. What was not loaded or multiplied since tiles_begin()
// is NaN, and so is everything after tiles_end().

struct Tile {
  union {
    uint16_t halves[16][32];
    float sums[16][16];
  };
};
static thread_local Tile emulated_tiles[8];

static void tiles_forget() { __builtin_memset(emulated_tiles, 0xff, sizeof emulated_tiles); }
static void tiles_begin() { tiles_forget(); }
static void tiles_end() { tiles_forget(); }

template <int kTo>
static void tile_zero() {
  __builtin_memset(&emulated_tiles[kTo], 0, sizeof(Tile));
}
template <int kTo>
static void tile_load(const void* from) {
  __builtin_memcpy(&emulated_tiles[kTo], from, sizeof(Tile));
}
template <int kFrom>
static void tile_store(void* to) {
  __builtin_memcpy(to, &emulated_tiles[kFrom], sizeof(Tile));
}

static float of_bf16(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

template <int kSum, int kX, int kWeights>
static void tile_dot() {
  for (int m = 0; m < 16; ++m) {
    float even[16] = {}, odd[16] = {};
    for (int k = 0; k < 16; ++k) {
      const uint16_t* x = emulated_tiles[kX].halves[m] + 2 * k;
      const uint16_t* w = emulated_tiles[kWeights].halves[k];
      for (int n = 0; n < 16; ++n) {  // a product of two bf16 is exact: no fma is needed
        even[n] += of_bf16(x[0]) * of_bf16(w[2 * n]);
        odd[n] += of_bf16(x[1]) * of_bf16(w[2 * n + 1]);
      }
    }
    for (int n = 0; n < 16; ++n) emulated_tiles[kSum].sums[m][n] += even[n] + odd[n];
  }
}

static void bf16_store_whole(uint16_t* p, int32_t whole) {
  const auto value = static_cast<float>(whole);
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  *p = static_cast<uint16_t>(bits >> 16);
}
static void bf16_store_high(uint16_t* p, I q) {
  for (int i = 0; i < 16; ++i) bf16_store_whole(p + i, q.v[i] & ~127);
}
static void bf16_store_low(uint16_t* p, I q) {
  for (int i = 0; i < 16; ++i) bf16_store_whole(p + i, q.v[i] & 127);
}

static W w_number(W a, const uint16_t* table) {
  for (uint16_t& lane : a.v) lane = table[lane & 31];
  return a;
}

static inline F f_held(F a) { return a; }
