// Digests of floats' bits, and the committed ones: what one kind of processor wrote, every other must give. A line of a
// file in tests/golden/bits is "NAME DIGEST"; a test that finds another digest, or none, prints the line as it got it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace carat::test {

// FNV-1a over the bits, in order.
class BitDigest {
 public:
  void add(std::span<const float> values);
  std::string hex() const;

 private:
  uint64_t state_ = 14695981039346656037u;
};

class GoldenBits {
 public:
  explicit GoldenBits(const std::string& file);  // its name in tests/golden/bits
  testing::AssertionResult holds(const std::string& name, const BitDigest& digest) const;

 private:
  std::map<std::string, std::string> digests_;
};

}  // namespace carat::test
