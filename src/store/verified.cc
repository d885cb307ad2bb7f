// One small text for each blob: "size inode mtime ctime", times in nanoseconds. Whatever else a note holds, it is none.
#include "store/verified.h"

#include <fmt/format.h>

#include "base/atomic_file.h"

namespace carat {
namespace {

std::string look_of(const struct stat& blob) {
  return fmt::format("{} {} {}.{:09} {}.{:09}\n", blob.st_size, blob.st_ino, blob.st_mtim.tv_sec, blob.st_mtim.tv_nsec,
                     blob.st_ctim.tv_sec, blob.st_ctim.tv_nsec);
}

}  // namespace

bool VerifiedNotes::has(const Digest& digest, const struct stat& blob) const {
  const auto text = read_small_file(path_of(digest), 256);
  return text.ok() && *text == look_of(blob);
}

Status VerifiedNotes::note(const Digest& digest, const struct stat& blob) const {
  CARAT_CHECK(make_folders(folder_));
  return write_atomically(path_of(digest), look_of(blob));
}

void VerifiedNotes::forget(const Digest& digest) const {
  std::error_code ignored;
  std::filesystem::remove(path_of(digest), ignored);
}

}  // namespace carat
