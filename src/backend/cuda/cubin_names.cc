#include "backend/cuda/cubin_names.h"

#include <elf.h>

#include <cstring>

namespace carat::cuda {

std::vector<std::string_view> kernels_of(const unsigned char* cubin) {
  constexpr std::string_view kCode = ".text.";
  Elf64_Ehdr header;
  std::memcpy(&header, cubin, sizeof header);
  const auto section = [&](size_t index) {
    Elf64_Shdr s;
    std::memcpy(&s, cubin + header.e_shoff + index * header.e_shentsize, sizeof s);
    return s;
  };
  const auto* strings = reinterpret_cast<const char*>(cubin + section(header.e_shstrndx).sh_offset);
  std::vector<std::string_view> names;
  for (size_t i = 0; i < header.e_shnum; ++i) {
    const std::string_view name = strings + section(i).sh_name;
    if (name.starts_with(kCode)) names.push_back(name.substr(kCode.size()));
  }
  return names;
}

}  // namespace carat::cuda
