#include "backend/cpu/amx.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace carat::cpu {

#if defined(__x86_64__)
namespace {

// Older compilers and C libraries do not know these names.
constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;  // of CPUID 7, edx
constexpr long kRequestPermission = 0x1023;                   // ARCH_REQ_XCOMP_PERM
constexpr long kTileData = 18;                                // XFEATURE_XTILEDATA

bool ask() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kAmxTile) == 0 || (d & kAmxBf16) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool amx_granted() {
  static const bool granted = ask();
  return granted;
}
#else
bool amx_granted() { return false; }
#endif

}  // namespace carat::cpu
