// Hostile megabytes: twice the text takes about twice the time, whatever it consists of. The quadratic algorithm that
// this guards against takes four times as long, and minutes at this size. Processor time, the least of several runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <string>

#include "tokenizer/gemma_vocabulary.h"

namespace carat {
namespace {

double seconds_now() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double seconds_to_encode(const std::string& text, int runs) {
  double best = 1e9;
  for (int run = 0; run < runs; ++run) {
    const double begin = seconds_now();
    EXPECT_FALSE(gemma_tokenizer().encode(text).empty());
    best = std::min(best, seconds_now() - begin);
  }
  return best;
}

std::string repeated(const std::string& unit, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

std::string random_bytes(size_t bytes, uint8_t first, uint8_t count) {
  std::string text;
  uint32_t state = 1;
  for (size_t i = 0; i < bytes; ++i) {
    state = state * 1664525 + 1013904223;
    text.push_back(static_cast<char>(first + (state >> 24) % (count == 0 ? 256 : count)));
  }
  return text;
}

void expect_linear(const char* name, const std::function<std::string(size_t)>& make) {
  constexpr size_t kBytes = size_t{256} << 10;
  double ratio = 0;
  for (int attempt = 0; attempt < 4; ++attempt) {  // another process may have had the cache
    ratio = seconds_to_encode(make(2 * kBytes), 3) / seconds_to_encode(make(kBytes), 3);
    if (ratio <= 2.3) return;
  }
  ADD_FAILURE() << name << ": twice the text takes " << ratio << " times as long";
}

TEST(Complexity, IsAlmostLinear) {
  gemma_tokenizer().encode("warm");
  for (const char* unit :
       {"a", " ", "\n", "=", "<", "ab", "<unused1", "\u2581", "的", "😀", "👨‍👩‍👧‍👦‍", "𐀵"}) {
    expect_linear(unit, [&](size_t bytes) { return repeated(unit, bytes); });
  }
  expect_linear("random bytes", [](size_t bytes) { return random_bytes(bytes, 0, 0); });
  expect_linear("random letters", [](size_t bytes) { return random_bytes(bytes, 'a', 26); });
}

}  // namespace
}  // namespace carat
