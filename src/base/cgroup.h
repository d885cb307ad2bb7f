// The limits that a container puts on this process: cgroups, version 1 or 2, nested ones too. Every function takes the
// root of the file system, so that tests can hand it a recorded one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace carat {

struct CgroupMemory {
  uint64_t limit_bytes = 0;
  uint64_t used_bytes = 0;  // without what the kernel can take back (inactive files)
};

// The limit, of those of this process's cgroup and of all above it, that leaves least. None: no limit is set.
std::optional<CgroupMemory> cgroup_memory(const std::filesystem::path& root = "/");

// CPU time per time, 1.5 being one and a half cores: the least of all quotas. None: no quota is set.
std::optional<double> cgroup_cpus(const std::filesystem::path& root = "/");

}  // namespace carat
