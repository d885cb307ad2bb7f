// Resolve; on kNotFound pull, and resolve again.
#include "cli/pull_model.h"

#include "cli/progress.h"
#include "store/pull/pull.h"

namespace carat::cli {

Result<ResolvedModel> resolve_or_pull(std::string_view name_or_path) {
  CARAT_TRY(const Store store, Store::open());
  auto model = store.resolve(name_or_path);
  if (model.ok() || model.error().code != ErrorCode::kNotFound || is_local_path(name_or_path)) return model;
  CARAT_TRY(const ModelName name, ModelName::parse(name_or_path));
  {
    Progress progress;
    CARAT_CHECK(pull(store, name, progress));
  }
  return store.resolve(name_or_path);
}

}  // namespace carat::cli
