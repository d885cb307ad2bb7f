// What every product of quantised weights shares, however their integers lie: scales, segments, and a piece of a panel
// taken apart.

// The scale and the minimum of sixteen rows.
struct Scales {
  F scale, min;
};

// Sixteen weights of a type of floats.
template <DType kType>
static inline F load_weights(const uint8_t* p) {
  if constexpr (kType == DType::kF32) return f_load(reinterpret_cast<const float*>(p));
  if constexpr (kType == DType::kF16) return f_load_f16(p);
  return f_load_bf16(p);
}

// At the first block of a super-block: reads its header into `super` and steps over it. Nothing to do for other
// formats.
template <DType kType>
[[gnu::always_inline]] static inline const uint8_t* read_super_header(const uint8_t* p, int64_t block, Scales& super) {
  constexpr PackFormat kFormat = pack_format(kType);
  if constexpr (kFormat.scale == ScaleKind::kSuper) {
    if (block % (kSuperBlock / kBlock) == 0) {
      super.scale = f_load_f16(p);
      if constexpr (kFormat.has_min) super.min = f_load_f16(p + 2 * kPanelRows);
      p += kFormat.super_header_bytes();
    }
  }
  return p;
}

// Of sub-block `sub` of the block at p.
template <DType kType>
[[gnu::always_inline]] static inline Scales read_scales(const uint8_t* p, int sub, const Scales& super) {
  constexpr PackFormat kFormat = pack_format(kType);
  Scales out{};
  if constexpr (kFormat.scale == ScaleKind::kSuper) {
    out.scale = f_mul(super.scale, i_float(i_load_i8(p + sub * kPanelRows)));
    if constexpr (kFormat.has_min) {
      out.min = f_mul(super.min, i_float(i_load_u8(p + (kFormat.sub_blocks + sub) * kPanelRows)));
    }
  } else {
    out.scale = f_load_f16(p);
    if constexpr (kFormat.has_min) out.min = f_load_f16(p + 2 * kPanelRows);
  }
  return out;
}

// The scales and minima of the block at p, into the beginning of `scales` and `mins`: [sub-block][16 rows].
template <DType kType>
static inline void expand_scales(const uint8_t* p, const Scales& super, float* scales, float* mins) {
  for (int sub = 0; sub < pack_format(kType).sub_blocks; ++sub) {
    const Scales w = read_scales<kType>(p, sub, super);
    f_store(scales + sub * kPanelRows, w.scale);
    if constexpr (pack_format(kType).has_min) f_store(mins + sub * kPanelRows, w.min);
  }
}

static constexpr int64_t kSegment = 128 / kBlock;  // blocks that a chain of additions goes over

// What every product of row t is multiplied with in the end.
static inline F row_factor(const Activations& x, int64_t t) {
  return f_set(x.factors == nullptr ? 1.0f : x.factors[t]);
}

// The same for a panel's products with all rows, [rows][16].
static inline void apply_factors(const Activations& x, int64_t rows, float* out) {
  if (x.factors == nullptr) return;
  for (int64_t t = 0; t < rows; ++t)
    f_store(out + t * kPanelRows, f_mul(f_load(out + t * kPanelRows), row_factor(x, t)));
}

// A piece of a panel, expanded: its integers, offset subtracted, as the tiles read them; scales and minima [sub-block][16
// rows] in float32.
struct Expanded {
  Integer* weights;
  float* scales;
  float* mins;
};

// What to ask the memory for meanwhile: what lies `bytes` behind, at every `every`-th block, the first being `first`.
struct Ahead {
  int64_t bytes = 4096, every = 1, first = 0;
  bool wants(int64_t block) const { return every == 1 || block % every == first; }
};
