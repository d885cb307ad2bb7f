// Tiles of AMX, and what lies in them: eight of sixteen rows of 64 bytes. tests/backend/cpu/tiles_emulated.inl has the same
// in plain C++.
// The instructions are written out: GCC's own functions do not say which memory they read.

struct [[gnu::may_alias]] TileBytes {
  uint8_t bytes[1024];
};

// Only where the kernel has granted the tiles' state (amx.h). Released soon: a context switch saves what is in use.
static inline void tiles_begin() {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
  asm volatile("ldtilecfg %0" ::"m"(config));
}
static inline void tiles_end() { asm volatile("tilerelease"); }

template <int kTo>
[[gnu::always_inline]] static inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTo));
}
template <int kTo>
[[gnu::always_inline]] static inline void tile_load(const void* from) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
               :
               : "r"(from), "r"(int64_t{64}), "i"(kTo), "m"(*static_cast<const TileBytes*>(from)));
}
template <int kFrom>
[[gnu::always_inline]] static inline void tile_store(void* to) {
  asm volatile("tilestored %%tmm%c3, (%1,%2,1)"
               : "=m"(*static_cast<TileBytes*>(to))
               : "r"(to), "r"(int64_t{64}), "i"(kFrom));
}
// kSum[m][n] += the products of row m of kX with columns n of kWeights, whose pairs of columns are its rows.
template <int kSum, int kX, int kWeights>
[[gnu::always_inline]] static inline void tile_dot() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kX), "i"(kWeights));
}

// Sixteen integers q = 128 * hi + lo: 128 * hi, lo.
static inline void bf16_store_whole(uint16_t* p, __m512i whole) {
  const __m512i bits = _mm512_castps_si512(_mm512_cvtepi32_ps(whole));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}
static inline void bf16_store_high(uint16_t* p, I q) {
  bf16_store_whole(p, _mm512_and_si512(q.v, _mm512_set1_epi32(-128)));
}
static inline void bf16_store_low(uint16_t* p, I q) {
  bf16_store_whole(p, _mm512_and_si512(q.v, _mm512_set1_epi32(127)));
}

// table[a], a of up to 5 bits.
static inline W w_number(W a, const uint16_t* table) {
  return {_mm512_permutexvar_epi16(a.v, _mm512_loadu_si512(table))};
}

// Kept in its register.
static inline F f_held(F a) {
  asm("" : "+v"(a.v));
  return a;
}
