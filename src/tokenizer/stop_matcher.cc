#include "tokenizer/stop_matcher.h"

#include <utility>

namespace carat {

StopMatcher::StopMatcher(std::span<const std::string> stops) : nodes_(1) {
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty()) continue;
    uint32_t node = 0;
    for (const char c : stops[i]) {
      uint32_t next = child(node, c);
      if (next == 0) {
        next = static_cast<uint32_t>(nodes_.size());
        nodes_[node].children.emplace_back(c, next);
        const uint32_t depth = nodes_[node].depth + 1;
        nodes_.emplace_back().depth = depth;
      }
      node = next;
    }
    if (nodes_[node].stop >= 0) continue;  // of two equal ones, the first
    nodes_[node].stop = static_cast<int32_t>(i);
    nodes_[node].stop_bytes = stops[i].size();
  }
  // Breadth first, so that a fallback, which is shorter, is ready before it is used.
  std::vector<uint32_t> queue{0};
  for (size_t done = 0; done < queue.size(); ++done) {
    const uint32_t node = queue[done];
    for (const auto& [c, next] : nodes_[node].children) {
      queue.push_back(next);
      if (node == 0) continue;
      const uint32_t fallback = step(nodes_[node].fallback, c);
      nodes_[next].fallback = fallback;
      if (nodes_[next].stop < 0) {
        nodes_[next].stop = nodes_[fallback].stop;
        nodes_[next].stop_bytes = nodes_[fallback].stop_bytes;
      }
    }
  }
}

uint32_t StopMatcher::child(uint32_t node, char c) const {
  for (const auto& [key, next] : nodes_[node].children) {
    if (key == c) return next;
  }
  return 0;
}

uint32_t StopMatcher::step(uint32_t node, char c) const {
  while (true) {
    const uint32_t next = child(node, c);
    if (next != 0 || node == 0) return next;
    node = nodes_[node].fallback;
  }
}

StopMatcher::Output StopMatcher::push(std::string_view text) {
  if (stopped_) return {};
  for (size_t i = 0; i < text.size(); ++i) {
    node_ = step(node_, text[i]);
    if (nodes_[node_].stop < 0) continue;
    held_.append(text.substr(0, i + 1));
    held_.resize(held_.size() - nodes_[node_].stop_bytes);
    stopped_ = true;
    return {std::move(held_), static_cast<size_t>(nodes_[node_].stop)};
  }
  held_.append(text);
  Output output;
  const size_t certain = held_.size() - nodes_[node_].depth;
  output.text = held_.substr(0, certain);
  held_.erase(0, certain);
  return output;
}

std::string StopMatcher::finish() {
  if (stopped_) return {};
  node_ = 0;
  return std::exchange(held_, {});
}

}  // namespace carat
