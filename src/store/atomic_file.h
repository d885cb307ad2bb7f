// Small files that are there whole or not at all, even if the power fails: written beside, synced, renamed, and the
// folder synced.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace carat {

// Temporary files of write_atomically begin with this; no name in the store does.
inline constexpr std::string_view kTemporaryPrefix = ".tmp-";

Status write_atomically(const std::filesystem::path& path, std::string_view content);

// Every missing folder of `path`, each synced into its parent.
Status make_folders(const std::filesystem::path& path);

Status sync_folder(const std::filesystem::path& path);

// At most `limit` bytes of a regular file, else kCorruptFile. Opened as open_in_store does it.
Result<std::string> read_small_file(const std::filesystem::path& path, size_t limit);

}  // namespace carat
