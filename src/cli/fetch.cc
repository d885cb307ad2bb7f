#include "cli/fetch.h"

#include "cli/progress.h"
#include "store/pull/pull.h"

namespace carat::cli {

Status fetch_missing(const Store& store, const ModelName& name) {
  Progress progress;
  return pull(store, name, progress);
}

}  // namespace carat::cli
