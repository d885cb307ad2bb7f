// Not std::random_device: where libstdc++ was built on a newer glibc than the program runs on, it wants arc4random.
#include "base/entropy.h"

#include <sys/random.h>

#include <cerrno>

#include "base/result.h"

namespace carat {

uint64_t unguessable_bits() {
  uint64_t bits = 0;
  ssize_t got = -1;
  do got = ::getrandom(&bits, sizeof(bits), 0);  // eight bytes come whole
  while (got < 0 && errno == EINTR);
  CARAT_ASSERT(got == sizeof(bits));
  return bits;
}

}  // namespace carat
