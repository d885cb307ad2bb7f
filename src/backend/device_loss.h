// A device that failed for good, or hangs: CUDA's own errors stay until the process ends, and what hangs cannot be freed.
// backend.h asks (lost_device).
#pragma once

#include <string>

namespace carat {

// The first message is kept. Any thread.
void lose_device(const std::string& message);

}  // namespace carat
