// The kernels' machine code, embedded by the build: one piece for each .cu and architecture (see CMakeLists.txt).
#pragma once

#include <span>

namespace carat::cuda {

struct Cubin {
  int arch;      // 87 for sm_87
  int compiler;  // CUDA's major version: a driver takes what compilers of its own or an older one made
  const char* source;
  const unsigned char* data;
};

std::span<const Cubin> cubins();

}  // namespace carat::cuda
