#include "support/paths.h"

namespace carat {

const char* const kSourceDir = CARAT_SOURCE_DIR;
const char* const kCaratBinary = CARAT_BINARY;

}  // namespace carat
