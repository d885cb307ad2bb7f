// Rounded activations as bf16 in tiles of sixteen rows of 64 bytes, for products_tiles.inl.
//
// An activation has 15 bits, two bf16 numbers: q = 128 * hi + lo, hi in -128..127, lo in 0..127. Sixteen rows of a block are
// a TiledBlock, [T / 16][columns / 32] of them; a weight of up to 8 bits is a bf16 number as it is.

struct TiledBlock {
  uint16_t high[16][32], low[16][32];  // [row][column]: 128 * hi, lo
  float scales[16], sums[16];          // of the rows: their scale, and the sum of their 32 integers
};
static_assert(sizeof(TiledBlock) == kTiledBlockBytes);

constexpr int kTile = 16 * 32;        // numbers of a tile
constexpr int kTileFloats = 16 * 16;  // sums of one

// Types whose sums are exact as float32 (products_tiles.inl), with one scale a block: with two, every sum is made of half
// as many products, and that was no faster than without tiles.
static constexpr bool has_tiles(DType type) {
  const PackFormat format = pack_format(type);
  return format.bits != 0 && format.bits <= 6 && !format.table && format.sub_blocks == 1;
}

static inline TiledBlock* tiled_block(const Activations& x, int64_t row, int64_t block) {
  return static_cast<TiledBlock*>(x.tiles) + row / 16 * (x.columns / kBlock) + block;
}

// What block `block` of a row was rounded to, if somebody reads tiles.
static inline void store_tiles(const Activations& x, int64_t row, int64_t block, I low, I high, float scale,
                               int32_t sum) {
  if (!x.reads_tiles) return;
  TiledBlock& to = *tiled_block(x, row, block);
  const int64_t r = row % 16;
  bf16_store_high(to.high[r], low);
  bf16_store_high(to.high[r] + 16, high);
  bf16_store_low(to.low[r], low);
  bf16_store_low(to.low[r] + 16, high);
  to.scales[r] = scale;
  to.sums[r] = static_cast<float>(sum);
}

constexpr uint16_t bf16_of(int whole) {
  if (whole == 0) return 0;
  const int magnitude = whole < 0 ? -whole : whole;
  int exponent = 0;
  while (magnitude >> (exponent + 1) != 0) ++exponent;
  const int fraction = (magnitude << 7 >> exponent) & 0x7f;
  return static_cast<uint16_t>((whole < 0 ? 0x8000 : 0) | (127 + exponent) << 7 | fraction);
}

// u - kOffset as bf16, for every u of 5 bits.
template <int kOffset>
struct WholeNumbers {
  uint16_t of[32] = {};
  constexpr WholeNumbers() {
    for (int u = 0; u < 32; ++u) of[u] = bf16_of(u - kOffset);
  }
};
template <int kOffset>
alignas(64) static constexpr WholeNumbers<kOffset> kWholeNumbers;
