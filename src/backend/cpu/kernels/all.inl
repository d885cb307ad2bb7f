// Everything that an ISA's object holds, in the order of dependence. Included once by each isa_*.cc, inside its
// namespace, after its vector types.
//
// THE ARITHMETIC, the same bits on every instruction set and every device, whatever the batch, the chunks, the cache or
// the number of workers. It says in which order numbers are added, never who adds them. Every operation rounds to
// nearest even, `fma` once; nothing is contracted or reassociated. "Halves": of n partial sums the i-th takes the
// (i + n/2)-th, then the same with half as many, down to one.
//
//   rounding       blocks of 32 activations:  m = max |x|,  q = round(x * (16383 / m)),  scale = m / 16383
//                  m <= 1e-30: q = 0, scale = 0. A block that holds NaN or infinity: q = 0, scale = NaN
//   sum of squares 128 partial sums, element i in number i % 128, each a chain of fma from 0; then halves
//   norm           inverse = 1 / sqrt(sum / n + epsilon), NaN where the sum is not finite;  (x * inverse) * weight
//   product with   isum = sum over a (sub-)block of (u - offset) * q                     exact, in any order
//   quantised      acc  = fma(float(isum), scale_w * scale_x, acc)                       from 0, block after block
//   weights        acc  = fma(float(sum of q), min_w * scale_x, acc)                     after it, where there are minima
//                  for each segment of 128 columns; the segments' chains are added in order of columns (the first one
//                  is the total; the last one may be shorter)
//                  after a norm: x * weight is what is rounded, the total is multiplied by `inverse`
//   16-bit weights sixteen columns of an output:  2^e = the power of two of the largest |w|, e >= -114;
//                  u = round(w * 2^(12 - e)), scale_w = 2^(e - 12);  then as quantised weights with a scale per 16. |u| < 2^13,
//                  so that isum fits into 32 bits; what is above 1/64 (bf16) or 1/8 (f16) of the largest is not changed
//   32-bit weights acc = fma(w, x, acc), column after column; x is normalised before. So are 16-bit weights where a row is
//                  no whole blocks
//   gelu, exp      math.inl;  gelu(gate) * up
//   heads          norm of each head; rope by tables of the host:  a' = fma(a, cos, -(b * sin)),  b' = fma(b, cos,
//                  a * sin);  q * query_scale;  k and v clamped to +-65504 and stored as f16
//   score          four chains of fma from 0 over quarters of the head, ((c0 + c1) + c2) + c3
//   split          256 keys, cut at multiples of 256:  M = max score, NaN where one is not finite;  w = exp(score - M);
//                  32 partial sums of w, key k in number k % 32, then halves;  values: for every group of 32 keys, cut
//                  at multiples of 32, a chain acc = fma(w, v, acc) from 0; the groups in order (the first is the total)
//   splits         in order:  M' = max(M, m), a = exp(M - M'), b = exp(m - M');  sum = fma(sum, a, s * b), and so each
//                  value; in the end value / sum
//   residual       hidden + norm(projected), added last
//
// A number that is not finite is never laundered: whatever was made from it is NaN or infinity, down to the logits.

// clang-format off
#include "backend/cpu/kernels/math.inl"
#include "backend/cpu/kernels/decode_blocks.inl"
#if defined(CARAT_PLANES)
#include "backend/cpu/kernels/layout_planes.inl"
#else
#include "backend/cpu/kernels/layout_pairs.inl"
#endif
#if defined(CARAT_TILES)
#include "backend/cpu/kernels/layout_tiles.inl"
#else
#include "backend/cpu/kernels/no_tiles.inl"
#endif
#include "backend/cpu/kernels/rows.inl"
#include "backend/cpu/kernels/pack.inl"
#include "backend/cpu/kernels/scales.inl"
#if defined(CARAT_PLANES)
#include "backend/cpu/kernels/products_planes.inl"
#else
#include "backend/cpu/kernels/products_pairs.inl"
#endif
#if defined(CARAT_TILES)
#include "backend/cpu/kernels/products_tiles.inl"
#endif
#include "backend/cpu/kernels/matmul_quantised.inl"
#include "backend/cpu/kernels/matmul.inl"
#include "backend/cpu/kernels/attention.inl"
#include "backend/cpu/kernels/forward.inl"
#include "backend/cpu/kernels/float_tile.inl"
#include "backend/cpu/kernels/vision.inl"
// clang-format on
