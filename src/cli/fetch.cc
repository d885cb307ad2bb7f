#include "cli/fetch.h"

#include "cli/progress.h"
#include "store/pull/pull.h"

namespace carat::cli {

Status fetch_missing(const Store& store, const ModelName& name) {
  Progress progress;
  return pull(store, name, progress);
}

chat::Fetch fetch_typed(std::string_view typed_name, bool insecure) {
  PullOptions options;
  options.http.plain_http = insecure || asks_for_plain_http(typed_name);
  return [options](const Store& store, const ModelName& name) {
    Progress progress;
    return pull(store, name, progress, options);
  };
}

}  // namespace carat::cli
