// Memory that a worker of a team reads first after a barrier. While it waits there, nothing else would ask for anything:
// the memory would rest once for each barrier of a step.
#pragma once

#include <cstdint>

namespace carat {

struct Wanted {
  struct Range {
    const uint8_t *at = nullptr, *end = nullptr;
  };
  Range pairs[4][2];  // in the order in which they are read, the two of a pair side by side

  // Asks for a little of it; false where nothing is left.
  bool ask() {
    bool any = false;
    for (auto& pair : pairs) {
      for (Range& range : pair) {
        for (int line = 0; line < 4 && range.at < range.end; ++line, range.at += 64) {
          __builtin_prefetch(range.at, 0, 2);
          any = true;
        }
      }
      if (any) return true;
    }
    return false;
  }
};

}  // namespace carat
