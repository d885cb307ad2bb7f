// What each blob looked like when its bytes were last hashed and found right: its size, inode and time stamps. While a
// blob looks the same it is not hashed again; whoever flips a bit of it changes a time stamp that only the kernel sets.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "base/result.h"
#include "store/digest.h"

namespace carat {

class VerifiedNotes {
 public:
  // `suffix` tells blobs of another place apart from this store's own.
  VerifiedNotes(std::filesystem::path folder, std::string suffix)
      : folder_(std::move(folder)), suffix_(std::move(suffix)) {}

  bool has(const Digest& digest, const struct stat& blob) const;
  // Errors: kIo; in a store that is only read, the blob is then hashed each time.
  Status note(const Digest& digest, const struct stat& blob) const;
  void forget(const Digest& digest) const;

 private:
  std::filesystem::path path_of(const Digest& digest) const { return folder_ / (digest.hex() + suffix_); }

  std::filesystem::path folder_;
  std::string suffix_;
};

}  // namespace carat
