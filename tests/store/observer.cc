// See observer.h.
#include "store/observer.h"

#include <algorithm>

namespace carat::test {

void RecordingObserver::on_progress(std::string_view, uint64_t done_bytes, uint64_t total_bytes) {
  done.push_back(done_bytes);
  total = total_bytes;
}

bool RecordingObserver::saw(std::string_view status) const {
  return std::any_of(statuses.begin(), statuses.end(),
                     [status](const std::string& text) { return text.find(status) != std::string::npos; });
}

}  // namespace carat::test
