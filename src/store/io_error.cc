// errno, and what a person can do about it.
#include "store/io_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace carat {

Error io_error(const std::filesystem::path& path, std::string_view action, int number) {
  std::string reason;
  switch (number) {
    case ENOSPC:
    case EDQUOT:
      reason = number == ENOSPC ? "the disk is full" : "your disk quota is used up";
      reason += "; free some space (`carat rm --unused` sweeps leftovers) and run the same command again";
      break;
    case EFBIG:
      reason = "the file-size limit of this shell is reached (`ulimit -f`); raise it and run the same command again";
      break;
    case EROFS:
    case EACCES:
    case EPERM:
      reason = fmt::format("{}; set CARAT_HOME to a folder that you may write to, or change this one's permissions",
                           number == EROFS ? "the file system is read-only" : "permission denied");
      break;
    default:
      reason = std::strerror(number);
  }
  const ErrorCode code = number == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
  return Error{code, fmt::format("{}: cannot {}: {}", path.string(), action, reason)};
}

}  // namespace carat
