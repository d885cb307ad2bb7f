// Loops over constants, where an instruction wants its number in the code.

template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

// body(Constant<kFirst>{}) .. body(Constant<kLast - 1>{})
template <int kFirst, int kLast, class Body>
[[gnu::always_inline]] static inline void each_constant(const Body& body) {
  if constexpr (kFirst < kLast) {
    body(Constant<kFirst>{});
    each_constant<kFirst + 1, kLast>(body);
  }
}
