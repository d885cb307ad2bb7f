// A new model out of another, or out of files: `carat create`, Ollama's /api/create.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/digest.h"
#include "store/modelfile.h"
#include "store/pull/pull.h"
#include "store/store.h"

namespace carat {

struct CreateRequest {
  Modelfile modelfile;           // may have no FROM if there are files
  std::filesystem::path folder;  // that relative paths of FROM begin at; empty: paths are not followed, only names
  std::vector<std::pair<std::string, Digest>> files;  // "model.gguf" -> a blob that is in the store already
  std::string quantize;                               // "q4_K_M": the weights get fewer bits; empty: as they are
};

// What `modelfile` does not say stays as in the model that it begins with; that one is pulled if it is nowhere.
// Errors: kInvalidArgument (a parameter that there is not), kUnsupported (an adapter, a template that Carat cannot lay
// out), those of pull and of ModelFile::open.
Status create_model(const Store& store, const ModelName& name, const CreateRequest& request, PullObserver& observer,
                    const PullOptions& options = {});

// Another name for what a name means here, in this store or in another program's folder (then it is copied).
Status copy_model(const Store& store, const ModelName& from, const ModelName& to, PullObserver& observer);

}  // namespace carat
