// What this process may use of the machine.
#pragma once

#include <cstdint>
#include <filesystem>

namespace carat {

// root: of the file system, for tests.

// Physical cores that are online and in this process's affinity mask, at most the cgroup's CPU quota; at least 1.
// Hardware threads that share a core count once: they share its load ports too, and a memory-bound kernel gains nothing
// from the second.
int usable_cores(const std::filesystem::path& root = "/");

// Bytes that this process can still take: what the system calls available (what a GPU took that shares the memory is
// gone from it), and swap on disks, but no more than its cgroup, or any above it, leaves. Not zram: a Jetson swaps to as
// much of it as half its memory, and weights do not compress.
uint64_t usable_memory_bytes(const std::filesystem::path& root = "/");
// The same without swap: what a GPU that shares the memory can be given. What its driver calls free leaves out all that
// files are cached in, a model that was just downloaded too.
uint64_t usable_without_swap_bytes(const std::filesystem::path& root = "/");

// Peak resident memory of this process in bytes (VmHWM), and the resident memory now (VmRSS).
uint64_t peak_resident_bytes();
// Lets the peak begin anew at what is resident now; where the system does not allow it, nothing happens.
void forget_peak_resident();
uint64_t resident_bytes();

}  // namespace carat
