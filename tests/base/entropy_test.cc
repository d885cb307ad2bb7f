#include "base/entropy.h"

#include <gtest/gtest.h>

namespace carat {

TEST(Entropy, TwoDrawsDiffer) { EXPECT_NE(unguessable_bits(), unguessable_bits()); }

}  // namespace carat
