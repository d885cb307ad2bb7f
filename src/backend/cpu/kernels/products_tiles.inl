// Products of many rows by tiles of bf16 (AMX); tiles_*.inl has the instructions, layout_tiles.inl what lies in a tile.
//
// One tile takes the products of a block: sixteen rows of activations times a panel, in float32, which is what the
// definition wants: float(isum). It is exact. Every product is an integer, |w| * 128 * |hi| <= 31 * 2^14 or |w| * lo, and
// whichever of a block's 64 products are added first, their sum is an integer of magnitude 32 * 31 * (16384 + 127) =
// 16,378,912 at most (Q5_1, Q5_K), below 2^24: no order and no rounding changes it, and there are no denormals to flush. A sum
// of zero is +0 either way: a tile begins at +0, and +0 + -0 is +0.
//
// A tile's sums can only be had through memory, and a store of a tile waits long for its products. So tiles of a block are
// stored while the next block's are multiplied, and the sums of a segment scaled and added while the next one's are made.

constexpr int kSegmentBlocks = static_cast<int>(kSegment);
constexpr int kSegmentSums = 2 * kSegmentBlocks * kTileFloats;  // [panel][block][16 rows][16]
constexpr int sums_at(int panel, int block) { return (panel * kSegmentBlocks + block) * kTileFloats; }

// A segment of sixteen rows whose products are on their way to memory.
template <int kPanels>
struct TiledSegment {
  float* sums;
  const float* scales[kPanels];  // [block][16]
  const float* mins[kPanels];    // the same
  const TiledBlock* x;           // [block]
  float* total[kPanels];         // [16 rows][16]
  int64_t rows;                  // that there are
};

// A segment's sums, scaled and added.
template <bool kMin, int kPanels>
[[gnu::always_inline]] static inline void finish_rows(const TiledSegment<kPanels>& of) {
  F w[kPanels][kSegmentBlocks], w_min[kPanels][kSegmentBlocks];
  for (int i = 0; i < kPanels; ++i) {
    for (int block = 0; block < kSegmentBlocks; ++block) {
      w[i][block] = f_held(f_load(of.scales[i] + block * kPanelRows));
      if constexpr (kMin) w_min[i][block] = f_held(f_load(of.mins[i] + block * kPanelRows));
    }
  }
  for (int64_t t = 0; t < of.rows; ++t) {
    F acc[kPanels];
    for (F& a : acc) a = f_set(0.0f);
    for (int block = 0; block < kSegmentBlocks; ++block) {
      const F x_scale = f_set(of.x[block].scales[t]);
      for (int i = 0; i < kPanels; ++i) {
        acc[i] = f_fma(f_load(of.sums + sums_at(i, block) + t * kPanelRows), f_mul(w[i][block], x_scale), acc[i]);
        if constexpr (kMin) acc[i] = f_fma(f_set(of.x[block].sums[t]), f_mul(w_min[i][block], x_scale), acc[i]);
      }
    }
    for (int i = 0; i < kPanels; ++i) {
      float* const total = of.total[i] + t * kPanelRows;
      f_store(total, f_add(f_load(total), acc[i]));
    }
  }
}

// Products of block kAt of `now`, its weights' tiles at weights[panel]: into tiles 0 and 1 or 2 and 3 in turn. The block
// before is stored, its sums being done.
template <int kAt, int kPanels>
[[gnu::always_inline]] static inline void multiply_block(const uint16_t* const* weights,
                                                         const TiledSegment<kPanels>& now,
                                                         const TiledSegment<kPanels>& before) {
  constexpr int kSum = kAt % 2 * 2, kDone = 2 - kSum;
  constexpr int kDoneBlock = (kAt + kSegmentBlocks - 1) % kSegmentBlocks;
  float* const done = (kAt == 0 ? before : now).sums;
  tile_load<6>(now.x[kAt].high);
  tile_load<4>(weights[0]);
  tile_zero<kSum>();
  tile_dot<kSum, 6, 4>();
  if constexpr (kPanels == 2) {
    tile_load<5>(weights[1]);
    tile_zero<kSum + 1>();
    tile_dot<kSum + 1, 6, 5>();
  }
  tile_load<7>(now.x[kAt].low);
  tile_dot<kSum, 7, 4>();
  tile_store<kDone>(done + sums_at(0, kDoneBlock));
  if constexpr (kPanels == 2) {
    tile_dot<kSum + 1, 7, 5>();
    tile_store<kDone + 1>(done + sums_at(1, kDoneBlock));
  }
}

template <int kBits, int kOffset, int kFirst>
[[gnu::always_inline]] static inline void expand_numbers(const uint8_t* words, uint16_t* out) {
  if constexpr (kFirst < 16) {
    const W word = w_load(words + 64 * (in_a_word<kBits>(kFirst) ? word_of<kBits>(kFirst) : 0));
    w_store(out + kFirst * 32, w_number(element<kBits, false, kFirst>(words, word), kWholeNumbers<kOffset>.of));
    expand_numbers<kBits, kOffset, kFirst + 1>(words, out);
  }
}

// Blocks of a panel from p on as tiles; returns the first byte after them.
template <DType kType>
static const uint8_t* expand_tiles(const uint8_t* p, int64_t blocks, uint16_t* weights, float* scales, float* mins) {
  constexpr PackFormat kFormat = pack_format(kType);
  Scales super{};
  for (int64_t block = 0; block < blocks; ++block) {
    p = read_super_header<kType>(p, block, super);
    for (int line = 0; line < kFormat.block_bytes(); line += 64) __builtin_prefetch(p + 4096 + line);
    expand_scales<kType>(p, super, scales + block * kPanelRows, mins + block * kPanelRows);
    const uint8_t* words = p + kFormat.block_bytes() - kFormat.word_bytes();
    expand_numbers<kFormat.bits, kFormat.offset, 0>(words, weights + block * kTile);
    p += kFormat.block_bytes();
  }
  return p;
}

// kPanels panels times `rows` rows, out[i][t * 16 + r].
template <DType kType, int kPanels>
static void multiply_tiles(const uint8_t* const* panels, const Activations& x, int64_t rows, float* const* out) {
  constexpr bool kMin = pack_format(kType).has_min;
  constexpr int64_t kChunk = kSuperBlock / kBlock;  // blocks that are expanded at a time
  struct {
    alignas(64) uint16_t weights[kPanels][kChunk * kTile];
    float sums[2][kSegmentSums];                                                           // of two segments
    float scales[2][kPanels][kChunk * kPanelRows], mins[2][kPanels][kChunk * kPanelRows];  // of two chunks
  } work;
  const int64_t blocks = x.columns / kBlock;
  const uint8_t* p[kPanels];
  TiledSegment<kPanels> before{};  // no rows yet
  before.sums = work.sums[1];
  before.x = tiled_block(x, 0, 0);
  for (int i = 0; i < kPanels; ++i) {
    p[i] = panels[i];
    before.scales[i] = before.mins[i] = work.scales[1][i];
    for (int64_t t = 0; t < rows; ++t)
      f_store(out[i] + t * kPanelRows, f_set(-0.0f));  // the first segment is the total
  }
  tiles_begin();
  int turn = 0;
  for (int64_t first = 0; first < blocks; first += kChunk) {
    const int64_t count = least(kChunk, blocks - first);
    const int64_t set = first / kChunk % 2;
    for (int i = 0; i < kPanels; ++i) {
      p[i] = expand_tiles<kType>(p[i], count, work.weights[i], work.scales[set][i], work.mins[set][i]);
    }
    for (int64_t segment = 0; segment < count; segment += kSegment) {
      for (int64_t row = 0; row < rows; row += 16) {
        TiledSegment<kPanels> now;
        const uint16_t* weights[kPanels];
        now.sums = work.sums[turn];
        now.x = tiled_block(x, row, first + segment);
        now.rows = least(16, rows - row);
        for (int i = 0; i < kPanels; ++i) {
          now.scales[i] = work.scales[set][i] + segment * kPanelRows;
          now.mins[i] = work.mins[set][i] + segment * kPanelRows;
          now.total[i] = out[i] + row * kPanelRows;
          weights[i] = work.weights[i] + segment * kTile;
        }
        each_constant<0, kSegmentBlocks>([&](auto at) __attribute__((always_inline)) {
          multiply_block<decltype(at)::value, kPanels>(weights, now, before);
          for (int i = 0; i < kPanels; ++i) weights[i] += kTile;
        });
        finish_rows<kMin, kPanels>(before);
        before = now;
        turn = 1 - turn;
      }
    }
  }
  constexpr int kLast = kSegmentBlocks - 1;
  tile_store<kLast % 2 * 2>(before.sums + sums_at(0, kLast));
  if constexpr (kPanels == 2) tile_store<kLast % 2 * 2 + 1>(before.sums + sums_at(1, kLast));
  tiles_end();
  finish_rows<kMin, kPanels>(before);
  for (int i = 0; i < kPanels; ++i) apply_factors(x, rows, out[i]);
}

// The same, if there are tiles for it.
template <DType kType, int kPanels>
static inline bool gemm_tiles(const uint8_t* const* panels, const Activations& x, int64_t rows, float* const* out) {
  if constexpr (has_tiles(kType)) {
    if (x.reads_tiles && rows >= kLeastTiledRows) {
      multiply_tiles<kType, kPanels>(panels, x, rows, out);
      return true;
    }
  }
  return false;
}
