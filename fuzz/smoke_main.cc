// The short run of a fuzz target in the tests, with any compiler: every seed, every short prefix of it, and a fixed
// number of mutants. No coverage guides it; it keeps the targets building and finds what is shallow. Deterministic: a
// failure names the mutant's number, which is its random seed.
//   fuzz_x_smoke [MUTANTS]
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>

#include "fuzz.h"

namespace {

using Random = std::mt19937_64;

size_t below(Random& random, size_t end) { return end == 0 ? 0 : random() % end; }

// One of the ways in which files go wrong: a bit, a byte, an extreme number, a piece lost, doubled or moved.
void mutate_once(std::string& bytes, Random& random) {
  if (bytes.empty()) {
    bytes.push_back(static_cast<char>(random()));
    return;
  }
  const size_t at = below(random, bytes.size());
  switch (below(random, 7)) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(random, 8)));
      break;
    case 1:
      bytes[at] = static_cast<char>(random());
      break;
    case 2: {  // a little-endian integer of 1, 2, 4 or 8 bytes becomes 0, all ones, or the largest positive one
      const size_t width = std::min(size_t{1} << below(random, 4), bytes.size() - at);
      const size_t kind = below(random, 3);
      std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(at), width, kind == 0 ? '\0' : '\xff');
      if (kind == 2) bytes[at + width - 1] = '\x7f';
      break;
    }
    case 3:
      bytes.erase(at, 1 + below(random, 16));
      break;
    case 4:
      bytes.insert(at, bytes.substr(at, 1 + below(random, 64)));
      break;
    case 5:  // a run of what nests, of digits, of a name: longer than anybody means it
      bytes.insert(at, size_t{1} << below(random, 14), "[{9a \"("[below(random, 7)]);
      break;
    default:
      bytes.resize(at);
  }
}

void run(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  size_t mutants = 20000;
  if (argc > 1) {
    const std::string_view text = argv[1];
    if (std::from_chars(text.data(), text.data() + text.size(), mutants).ec != std::errc{}) {
      std::fprintf(stderr, "usage: %s [MUTANTS]\n", argv[0]);
      return 2;
    }
  }
  const std::vector<std::string> seeds = fuzz_seeds();
  if (seeds.empty()) {
    std::fprintf(stderr, "no seeds: nothing would be tested\n");
    return 1;
  }
  for (const std::string& seed : seeds) {
    run(seed);
    for (size_t size = 0; size < std::min<size_t>(seed.size(), 512); ++size) run(seed.substr(0, size));
  }
  for (size_t number = 0; number < mutants; ++number) {
    Random random(number);
    std::string bytes = seeds[number % seeds.size()];
    const size_t count = 1 + below(random, 8);
    for (size_t i = 0; i < count; ++i) mutate_once(bytes, random);
    run(bytes);
  }
  std::printf("%zu seeds, %zu mutants\n", seeds.size(), mutants);
  return 0;
}
