// What this process may use of the machine.
#pragma once

#include <cstdint>

namespace carat {

// Physical cores in this process's affinity mask, at most the cgroup's CPU quota; at least 1. Hardware threads that
// share a core count once: they share its load ports too, and a memory-bound kernel gains nothing from the second.
int usable_cores();

// Peak resident memory of this process in bytes (VmHWM), and the resident memory now (VmRSS).
uint64_t peak_resident_bytes();
uint64_t resident_bytes();

}  // namespace carat
