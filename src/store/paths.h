// Where the store lies: the one thing that the environment decides.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace carat {

// CARAT_HOME, else ~/.carat; absolute. Error: kInvalidArgument if this user has no home folder and CARAT_HOME is not
// set.
Result<std::filesystem::path> store_home();

}  // namespace carat
