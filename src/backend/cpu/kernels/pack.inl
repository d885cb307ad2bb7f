// Packing: blocks of a file's rows to panels, and one row of a panel back to floats.

// Whether an f16 is NaN or infinity.
static inline bool bad_half(uint16_t half) { return (half & 0x7c00) == 0x7c00; }

// The earlier of two rows, -1 being none.
static inline int64_t earlier(int64_t a, int64_t b) { return a < 0 ? b : b < 0 ? a : least(a, b); }

template <DType kType>
static int64_t pack_quantised(const PackedMatrix& matrix, const uint8_t* rows, size_t row_bytes, uint8_t* out,
                              int64_t begin, int64_t end) {
  constexpr PackFormat kFormat = pack_format(kType);
  constexpr bool kSuper = kFormat.scale == ScaleKind::kSuper;
  int64_t bad = -1;
  for (int64_t panel = begin; panel < end; ++panel) {
    uint8_t* p = out + static_cast<size_t>(panel) * matrix.panel_bytes;
    const int64_t first = panel * kPanelRows;
    const int valid = static_cast<int>(least(kPanelRows, matrix.rows - first));
    if (valid < kPanelRows) __builtin_memset(p, 0, matrix.panel_bytes);
    for (int64_t block = 0; block < matrix.columns / kBlock; ++block) {
      uint8_t* header = p;
      if (kSuper && block % (kSuperBlock / kBlock) == 0) p += kFormat.super_header_bytes();
      uint8_t* scales = p;
      uint8_t* words = p + kFormat.block_bytes() - kFormat.word_bytes();
      for (int r = 0; r < valid; ++r) {
        uint8_t values[kBlock];
        BlockScales s{};
        decode_block<kType>(rows + static_cast<size_t>(first + r) * row_bytes, block, values, s);
        if (bad_half(s.scale) || bad_half(s.min)) bad = earlier(bad, first + r);
        pack_integers<kType>(values, words, r);
        if constexpr (kSuper) {
          if (block % (kSuperBlock / kBlock) == 0) {
            reinterpret_cast<uint16_t*>(header)[r] = s.scale;
            if (kFormat.has_min) reinterpret_cast<uint16_t*>(header)[kPanelRows + r] = s.min;
          }
          for (int sub = 0; sub < kFormat.sub_blocks; ++sub) {
            scales[sub * kPanelRows + r] = s.sub_scale[sub];
            if (kFormat.has_min) scales[(kFormat.sub_blocks + sub) * kPanelRows + r] = s.sub_min[sub];
          }
        } else {
          reinterpret_cast<uint16_t*>(scales)[r] = s.scale;
          if (kFormat.has_min) reinterpret_cast<uint16_t*>(scales)[kPanelRows + r] = s.min;
        }
      }
      p += kFormat.block_bytes();
    }
  }
  return bad;
}

// kExponent: the bits that NaN and infinity have all set.
template <class Element, Element kExponent>
static int64_t pack_floats(const PackedMatrix& matrix, const uint8_t* rows, size_t row_bytes, uint8_t* out,
                           int64_t begin, int64_t end) {
  int64_t bad = -1;
  for (int64_t panel = begin; panel < end; ++panel) {
    auto* p = reinterpret_cast<Element*>(out + static_cast<size_t>(panel) * matrix.panel_bytes);
    for (int r = 0; r < kPanelRows; ++r) {
      const int64_t row = panel * kPanelRows + r;
      const uint8_t* source = rows + static_cast<size_t>(row) * row_bytes;
      bool finite = true;
      for (int64_t c = 0; c < matrix.columns; ++c) {
        Element element = 0;
        if (row < matrix.rows)
          __builtin_memcpy(&element, source + static_cast<size_t>(c) * sizeof element, sizeof element);
        p[c * kPanelRows + r] = element;
        finite &= (element & kExponent) != kExponent;
      }
      if (!finite) bad = earlier(bad, row);
    }
  }
  return bad;
}

static int64_t pack(const PackedMatrix& matrix, const uint8_t* rows, size_t row_bytes, uint8_t* out, int64_t begin,
                    int64_t end) {
#define CARAT_PACK(type) \
  case DType::type:      \
    return pack_quantised<DType::type>(matrix, rows, row_bytes, out, begin, end)
  switch (matrix.type) {
    case DType::kF32:
      return pack_floats<uint32_t, 0x7f800000>(matrix, rows, row_bytes, out, begin, end);
    case DType::kF16:
      return pack_floats<uint16_t, 0x7c00>(matrix, rows, row_bytes, out, begin, end);
    case DType::kBF16:
      return pack_floats<uint16_t, 0x7f80>(matrix, rows, row_bytes, out, begin, end);
      CARAT_PACK(kQ4_0);
      CARAT_PACK(kQ4_1);
      CARAT_PACK(kQ5_0);
      CARAT_PACK(kQ5_1);
      CARAT_PACK(kQ8_0);
      CARAT_PACK(kQ2_K);
      CARAT_PACK(kQ3_K);
      CARAT_PACK(kQ4_K);
      CARAT_PACK(kQ5_K);
      CARAT_PACK(kQ6_K);
      CARAT_PACK(kIQ4_NL);
      CARAT_PACK(kIQ4_XS);
  }
#undef CARAT_PACK
  return -1;
}
