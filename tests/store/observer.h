// A pull's observer that remembers what it was told, and may cancel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/pull/observer.h"

namespace carat::test {

class RecordingObserver : public PullObserver {
 public:
  void on_status(std::string_view text) override { statuses.emplace_back(text); }
  void on_progress(std::string_view what, uint64_t done_bytes, uint64_t total_bytes) override;
  bool cancelled() override { return cancel; }

  bool saw(std::string_view status) const;

  bool cancel = false;
  std::vector<std::string> statuses;
  std::vector<uint64_t> done;  // in the order told
  uint64_t total = 0;
};

}  // namespace carat::test
