// Our own exp and what is built on it: the same polynomial on every ISA.

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// exp(x) to 1 ulp or so; x below -87 gives exp(-87), above 88 exp(88), NaN gives NaN.
// x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 7 (the remainder is below 2^-27).
static inline F f_exp(F x) {
  x = f_min(f_set(88.0f), f_max(f_set(-87.0f), x));
  const I n = f_round(f_mul(x, f_set(1.44269504088896341f)));
  const F nf = i_float(n);
  F r = f_fma(nf, f_set(-0.693359375f), x);  // ln 2 in two pieces, the first exact times any n
  r = f_fma(nf, f_set(2.12194440e-4f), r);
  F p = f_set(1.0f / 5040.0f);
  p = f_fma(p, r, f_set(1.0f / 720.0f));
  p = f_fma(p, r, f_set(1.0f / 120.0f));
  p = f_fma(p, r, f_set(1.0f / 24.0f));
  p = f_fma(p, r, f_set(1.0f / 6.0f));
  p = f_fma(p, r, f_set(0.5f));
  p = f_fma(p, r, f_set(1.0f));
  p = f_fma(p, r, f_set(1.0f));
  return f_mul(p, i_pow2(n));
}

// gelu_tanh(g) = g/2 (1 + tanh(u)) with u = sqrt(2/pi) (g + 0.044715 g^3), which is g / (1 + exp(-2u)): no
// cancellation.
static inline F f_gelu(F g) {
  const F cubic = f_fma(f_mul(f_mul(g, g), g), f_set(0.044715f), g);
  const F minus_2u = f_mul(cubic, f_set(-1.5957691216057308f));
  return f_div(g, f_add(f_set(1.0f), f_exp(minus_2u)));
}
