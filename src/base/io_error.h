// What the operating system refused, said so that a person knows what to do: a full disk, a store that may only be
// read, a file-size limit.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace carat {

// `number` is an errno. "PATH: cannot ACTION: the disk is full; free some space and ..."
Error io_error(const std::filesystem::path& path, std::string_view action, int number);

}  // namespace carat
