// errno, and what a person can do about it.
#include "base/io_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "base/printable.h"

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
      reason = number == EROFS ? "the file system is read-only" : "permission denied";
      if (action.starts_with("write") || action.starts_with("make")) {
        reason +=
            "; choose a folder that you may write to (CARAT_HOME moves the store), or change this one's permissions";
      }
      break;
    case ENOENT:
      if (action == "open it")
        return Error{ErrorCode::kNotFound, one_line(path.string()) + ": No such file or directory"};
      [[fallthrough]];
    default:
      reason = std::strerror(number);
  }
  const ErrorCode code = number == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
  return Error{code, fmt::format("{}: cannot {}: {}", one_line(path.string()), action, reason)};
}

}  // namespace carat
