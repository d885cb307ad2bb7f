// How fast this machine reads memory: the limit that decoding is measured against, in the same run.
#pragma once

#include "base/threads.h"

namespace carat::cli {

// Bytes a second that the team reads together, streaming through `bytes` of memory that no cache holds: the best of a
// few passes.
double measure_read_bandwidth(Team& team, size_t bytes = size_t{512} << 20);

}  // namespace carat::cli
