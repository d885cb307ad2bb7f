#include "cli/open_model.h"

#include "cli/pull_model.h"

namespace carat::cli {
namespace {

Result<ResolvedModel> resolve(const std::string& name_or_path) {
  if (is_local_path(name_or_path)) {  // needs no store, nor a home folder
    ResolvedModel local;
    local.name = name_or_path;
    local.path = name_or_path;
    local.is_local = true;
    return local;
  }
  return resolve_or_pull(name_or_path);
}

}  // namespace

Result<OpenModel> open_model(const std::string& name_or_path) {
  OpenModel model;
  CARAT_TRY(model.resolved, resolve(name_or_path));
  CARAT_TRY(model.file, ModelFile::open(model.resolved.path));
  return model;
}

}  // namespace carat::cli
