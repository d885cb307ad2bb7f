// The only reading of the environment in the store.
#include "store/paths.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

namespace carat {

Result<std::filesystem::path> store_home() {
  const char* carat_home = std::getenv("CARAT_HOME");
  if (carat_home != nullptr && *carat_home != '\0') return std::filesystem::absolute(carat_home);
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') {
    const passwd* user = ::getpwuid(::getuid());
    home = user != nullptr ? user->pw_dir : nullptr;
  }
  if (home == nullptr || *home == '\0') {
    return Error{ErrorCode::kInvalidArgument,
                 "this user has no home folder; set CARAT_HOME to a folder for the models"};
  }
  return std::filesystem::absolute(home) / ".carat";
}

}  // namespace carat
