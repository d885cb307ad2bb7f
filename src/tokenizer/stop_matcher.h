// Ends a stream of text at the first stop string, and never lets out text that might still become part of one.
//
// The stop strings form one automaton (Aho and Corasick, 1975). Its depth after some text is the length of the longest
// ending of that text that begins a stop string: exactly what has to be held back. Each byte costs O(1) amortised,
// however many stop strings there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace carat {

class StopMatcher {
 public:
  // Empty stop strings are ignored.
  explicit StopMatcher(std::span<const std::string> stops);

  struct Output {
    std::string text;            // certain: no stop string begins in it
    std::optional<size_t> stop;  // the index of the stop string that came after this text; the stream is over
  };
  // Of several stop strings the first to be complete counts, and of those complete at once the longest. After a stop,
  // further text gives nothing.
  Output push(std::string_view text);

  // The stream ended on its own: what was held back.
  std::string finish();

  bool stopped() const { return stopped_; }

 private:
  struct Node {
    uint32_t fallback = 0;  // the node of the longest proper ending that is also a beginning
    uint32_t depth = 0;
    int32_t stop = -1;  // complete here: the longest one
    size_t stop_bytes = 0;
    std::vector<std::pair<char, uint32_t>> children;
  };

  uint32_t child(uint32_t node, char c) const;  // 0: none
  uint32_t step(uint32_t node, char c) const;

  std::vector<Node> nodes_;
  uint32_t node_ = 0;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace carat
