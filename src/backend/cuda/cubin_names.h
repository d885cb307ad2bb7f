// Which kernels a piece of machine code holds, so that it is loaded only for one of them.
#pragma once

#include <string_view>
#include <vector>

namespace carat::cuda {

// cubin: an ELF file of our own build in memory; a kernel is a section .text.NAME. The names lie in it.
std::vector<std::string_view> kernels_of(const unsigned char* cubin);

}  // namespace carat::cuda
