// NVIDIA's driver as a table of functions over the emulator: what driver.cc does with a real one, without one. A script says
// what goes wrong and when.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/cuda/driver.h"

namespace carat::test {

struct FakeDriver {
  int version = 13000, devices = 1, major = 9, minor = 0;
  int launches = 0, launches_until_failure = -1;  // -1: none fails
  enum class Failure {
    kLaunchIsRefused,
    kStepFails,         // the next question whether it has ended says so, and everything after that
    kStepNeverEnds,     // the kernels do nothing any more
    kCallNeverReturns,  // its thread is lost to the process
  } failure = Failure::kStepFails;
  int allocations_until_none = -1;
  std::vector<std::string> calls_after_failure;  // of functions that free or destroy
  bool integrated = false;                       // shares the machine's memory
  size_t free_bytes = size_t{1} << 30;
  int modules_loaded = 0;
  bool function_missed = false;  // a kernel was looked for in a module that has it not
};

// The one driver of the process, as new.
FakeDriver& fake_driver();
const cuda::DriverApi& fake_api();
// Machine code of these architectures by a compiler of that version of CUDA: ELF files with the names of all kernels.
std::span<const cuda::Cubin> fake_cubins(std::vector<int> archs, int compiler = 13);

}  // namespace carat::test
