// A device that runs nothing: it counts memory and writes down what is launched, so that whole models of the real shapes can be
// looked at in no time. What is downloaded is zeros.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "backend/cuda/device.h"

namespace carat::test {

struct DryRecord {
  struct Most {
    uint32_t threads = 0;
    size_t shared_bytes = 0;
  };
  std::map<std::string, Most, std::less<>> launched;  // by kernel
  uint64_t bytes = 0, most_bytes = 0;                 // of the device's memory
};

// `record` must outlive the device.
std::unique_ptr<cuda::Device> dry_device(const cuda::DeviceFacts& facts, DryRecord& record);

}  // namespace carat::test
