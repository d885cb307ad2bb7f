// A block of 32 columns of each file format as unsigned integers and scales, for packing. The formats are ggml's; their
// structs and their meaning as floats are in formats/quant_blocks.h and formats/dequant.cc, which the packed form is
// tested against.

// As the panel stores them: scale and min as f16 bits (min already negated where the format subtracts it), sub-scales
// as i8 and u8.
struct BlockScales {
  uint16_t scale, min;
  uint8_t sub_scale[2], sub_min[2];
};

static inline uint16_t load_u16(const uint8_t* p) {
  uint16_t value;
  __builtin_memcpy(&value, p, 2);
  return value;
}
static inline uint32_t load_u32(const uint8_t* p) {
  uint32_t value;
  __builtin_memcpy(&value, p, 4);
  return value;
}

// The i-th of eight 6-bit scales and minima that Q4_K and Q5_K keep in 12 bytes.
static inline void k4_scale(const uint8_t* packed, int i, uint8_t* scale, uint8_t* min) {
  if (i < 4) {
    *scale = packed[i] & 63;
    *min = packed[i + 4] & 63;
  } else {
    *scale = static_cast<uint8_t>((packed[i + 4] & 15) | ((packed[i - 4] >> 6) << 4));
    *min = static_cast<uint8_t>((packed[i + 4] >> 4) | ((packed[i] >> 6) << 4));
  }
}

static inline uint64_t load_u64(const uint8_t* p) {
  uint64_t value;
  __builtin_memcpy(&value, p, 8);
  return value;
}
static inline void store_u64(uint8_t* p, uint64_t value) { __builtin_memcpy(p, &value, 8); }

// `bits` bits of each of eight bytes, from bit `shift` on; compilers make a mess of the same in single bytes.
static inline uint64_t bits_of(const uint8_t* eight, int shift, int bits) {
  return load_u64(eight) >> shift & 0x0101010101010101u * ((1u << bits) - 1);
}

// Nibbles of a 32-column block: columns 0-15 are the low halves of 16 bytes, 16-31 the high halves.
static inline void split_nibbles(const uint8_t* q, uint8_t* out) {
  for (int i = 0; i < 16; i += 8) {
    store_u64(out + i, bits_of(q + i, 0, 4));
    store_u64(out + 16 + i, bits_of(q + i, 4, 4));
  }
}
static inline void add_fifth_bits(uint32_t high, uint8_t* out) {
  for (int i = 0; i < 32; ++i) out[i] = static_cast<uint8_t>(out[i] | ((high >> i) & 1) << 4);
}

// `row` is the first byte of the row, `block` counts 32 columns.
template <DType kType>
static inline void decode_block(const uint8_t* row, int64_t block, uint8_t* out, BlockScales& s) {
  const int sub = static_cast<int>(block % 8);                       // which 32 columns of a 256-column super-block
  if constexpr (kType == DType::kQ4_0 || kType == DType::kIQ4_NL) {  // f16 d, 16 bytes of nibbles
    const uint8_t* b = row + block * 18;
    s.scale = load_u16(b);
    split_nibbles(b + 2, out);
  } else if constexpr (kType == DType::kQ4_1) {  // f16 d, f16 m, nibbles
    const uint8_t* b = row + block * 20;
    s.scale = load_u16(b);
    s.min = load_u16(b + 2);
    split_nibbles(b + 4, out);
  } else if constexpr (kType == DType::kQ5_0) {  // f16 d, 32 fifth bits, nibbles
    const uint8_t* b = row + block * 22;
    s.scale = load_u16(b);
    split_nibbles(b + 6, out);
    add_fifth_bits(load_u32(b + 2), out);
  } else if constexpr (kType == DType::kQ5_1) {  // f16 d, f16 m, 32 fifth bits, nibbles
    const uint8_t* b = row + block * 24;
    s.scale = load_u16(b);
    s.min = load_u16(b + 2);
    split_nibbles(b + 8, out);
    add_fifth_bits(load_u32(b + 4), out);
  } else if constexpr (kType == DType::kQ8_0) {  // f16 d, 32 signed bytes
    const uint8_t* b = row + block * 34;
    s.scale = load_u16(b);
    for (int i = 0; i < 32; i += 8) store_u64(out + i, load_u64(b + 2 + i) ^ 0x8080808080808080u);
  } else if constexpr (kType == DType::kQ2_K) {  // 16 x (4-bit scale, 4-bit min), 64 bytes of 2 bits, f16 d, f16 dmin
    const uint8_t* b = row + block / 8 * 84;
    s.scale = load_u16(b + 80);
    s.min = load_u16(b + 82) ^ 0x8000;
    for (int half = 0; half < 2; ++half) {
      s.sub_scale[half] = b[2 * sub + half] & 15;
      s.sub_min[half] = b[2 * sub + half] >> 4;
    }
    const uint8_t* q = b + 16 + sub / 4 * 32;
    for (int i = 0; i < 32; i += 8) store_u64(out + i, bits_of(q + i, 2 * (sub % 4), 2));
  } else if constexpr (kType ==
                       DType::kQ3_K) {  // 32 bytes of third bits, 64 bytes of 2 bits, 12 bytes of 6-bit scales, f16 d
    const uint8_t* b = row + block / 8 * 110;
    s.scale = load_u16(b + 108);
    const uint8_t* packed = b + 96;
    for (int half = 0; half < 2; ++half) {
      const int i = 2 * sub + half;
      const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
      const int high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
      s.sub_scale[half] = static_cast<uint8_t>((low | high << 4) - 32);
    }
    const uint8_t* q = b + 32 + sub / 4 * 32;
    for (int i = 0; i < 32; i += 8) store_u64(out + i, bits_of(q + i, 2 * (sub % 4), 2) | bits_of(b + i, sub, 1) << 2);
  } else if constexpr (kType == DType::kQ4_K) {  // f16 d, f16 dmin, 12 bytes of scales, 128 bytes of nibbles
    const uint8_t* b = row + block / 8 * 144;
    s.scale = load_u16(b);
    s.min = load_u16(b + 2) ^ 0x8000;
    k4_scale(b + 4, sub, &s.sub_scale[0], &s.sub_min[0]);
    const uint8_t* q = b + 16 + sub / 2 * 32;
    for (int i = 0; i < 32; i += 8) store_u64(out + i, bits_of(q + i, 4 * (sub % 2), 4));
  } else if constexpr (kType == DType::kQ5_K) {  // f16 d, f16 dmin, scales, 32 bytes of fifth bits, nibbles
    const uint8_t* b = row + block / 8 * 176;
    s.scale = load_u16(b);
    s.min = load_u16(b + 2) ^ 0x8000;
    k4_scale(b + 4, sub, &s.sub_scale[0], &s.sub_min[0]);
    const uint8_t* q = b + 48 + sub / 2 * 32;
    for (int i = 0; i < 32; i += 8)
      store_u64(out + i, bits_of(q + i, 4 * (sub % 2), 4) | bits_of(b + 16 + i, sub, 1) << 4);
  } else if constexpr (kType ==
                       DType::kQ6_K) {  // 128 bytes of low nibbles, 64 bytes of high 2 bits, 16 i8 scales, f16 d
    const uint8_t* b = row + block / 8 * 210;
    s.scale = load_u16(b + 208);
    s.sub_scale[0] = b[192 + 2 * sub];
    s.sub_scale[1] = b[192 + 2 * sub + 1];
    const uint8_t* low = b + sub / 4 * 64 + sub % 2 * 32;
    const uint8_t* high = b + 128 + sub / 4 * 32;
    for (int i = 0; i < 32; i += 8)
      store_u64(out + i, bits_of(low + i, 4 * (sub % 4 / 2), 4) | bits_of(high + i, 2 * (sub % 4), 2) << 4);
  } else if constexpr (kType == DType::kIQ4_XS) {  // f16 d, u16 high bits of scales, 4 bytes of low bits, nibbles
    const uint8_t* b = row + block / 8 * 136;
    s.scale = load_u16(b);
    const int low = (b[4 + sub / 2] >> (4 * (sub % 2))) & 15;
    const int high = (load_u16(b + 2) >> (2 * sub)) & 3;
    s.sub_scale[0] = static_cast<uint8_t>((low | high << 4) - 32);
    split_nibbles(b + 8 + sub * 16, out);
  }
}
