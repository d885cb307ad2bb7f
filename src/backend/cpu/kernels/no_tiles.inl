// Where nothing multiplies tiles: what layout_tiles.inl and products_tiles.inl have elsewhere.

constexpr int64_t kLeastTiledRows = 1;

static bool has_tiles(DType) { return false; }
static inline void store_tiles(const Activations&, int64_t, int64_t, I, I, float, int32_t) {}
template <DType kType, int kPanels>
static inline bool gemm_tiles(const uint8_t* const*, const Activations&, int64_t, float* const*) {
  return false;
}
