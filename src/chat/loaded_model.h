// A model that is ready to answer: opened, packed by a backend, with an engine of the context that is needed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "base/result.h"
#include "chat/open_model.h"
#include "engine/engine.h"

namespace carat::chat {

// Where and how a model runs.
struct LoadOptions {
  BackendOptions backend;
  int32_t chunk = 256;  // prompt tokens computed in one step
};

class LoadedModel {
 public:
  // Errors: those of create_backend.
  static Result<LoadedModel> load(OpenModel model, const LoadOptions& options);

  const OpenModel& model() const { return *model_; }
  const ModelConfig& config() const { return model_->file.config; }
  Backend& backend() { return *backend_; }

  // The engine, made anew with `context` positions if it has fewer (what its sessions held is then gone).
  // Errors: kTooLong beyond the model's context, kOutOfMemory.
  Result<Engine*> engine_of(int64_t context);

 private:
  LoadedModel() = default;

  std::unique_ptr<OpenModel> model_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Engine> engine_;
  int32_t chunk_ = 0;
};

}  // namespace carat::chat
