#include "support/golden_bits.h"

#include <cstdio>
#include <cstring>
#include <fstream>

#include "support/paths.h"

namespace carat::test {

void BitDigest::add(std::span<const float> values) {
  for (const float value : values) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    for (int byte = 0; byte < 4; ++byte) state_ = (state_ ^ (bits >> (8 * byte) & 0xff)) * 1099511628211u;
  }
}

std::string BitDigest::hex() const {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(state_));
  return text;
}

GoldenBits::GoldenBits(const std::string& file) {
  std::ifstream in(std::string(kSourceDir) + "/tests/golden/bits/" + file);
  for (std::string name, digest; in >> name >> digest;) digests_[name] = digest;
}

testing::AssertionResult GoldenBits::holds(const std::string& name, const BitDigest& digest) const {
  const auto found = digests_.find(name);
  if (found != digests_.end() && found->second == digest.hex()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "golden: " << name << ' ' << digest.hex() << " here, "
                                     << (found == digests_.end() ? "nothing" : found->second) << " in the file";
}

}  // namespace carat::test
