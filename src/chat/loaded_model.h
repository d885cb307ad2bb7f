// A model that is ready to answer: opened, packed by a backend, with an engine of the context that is needed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "base/result.h"
#include "chat/memory_plan.h"
#include "chat/open_model.h"
#include "engine/engine.h"

namespace carat::chat {

// Where and how a model runs.
struct LoadOptions {
  BackendOptions backend;
  int32_t chunk = 0;   // prompt tokens computed in one step; 0: what suits the backend
  std::string memory;  // a hard budget, as people write it: 2G; empty: what the machine has
  int32_t max_sequences = 1;
};

class LoadedModel {
 public:
  // Errors: those of create_backend; kOutOfMemory before anything is loaded, where there is no room for it.
  static Result<LoadedModel> load(OpenModel model, const LoadOptions& options);
  // The same, but the backend is made by the first engine_of: perhaps somebody else answers.
  static LoadedModel later(OpenModel model, const LoadOptions& options);

  const OpenModel& model() const { return *model_; }
  const ModelConfig& config() const { return model_->file.config; }
  Backend& backend() { return *backend_; }

  // The engine, made anew if it has fewer positions than `least` (what its cache held is then gone): with `context` of
  // them, or as many as there is memory for. Errors: kTooLong beyond the model's context, kOutOfMemory.
  Result<Engine*> engine_of(int64_t context, int64_t least);

  // In what it differs from its file, for people; empty: in nothing, or nothing was loaded.
  std::string note() const { return backend_ ? backend_->info().note : std::string(); }

  // What it takes, as planned before.
  const MemoryPlan& memory() const { return plan_; }

  // Whether so much more may be taken for a while. Errors: kOutOfMemory, naming what it is for.
  Status room_for(uint64_t bytes, const char* what);

  // The next engine_of makes a new one.
  void drop_engine() { engine_.reset(); }

 private:
  LoadedModel() = default;
  Status ensure_loaded();

  std::unique_ptr<OpenModel> model_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Engine> engine_;
  LoadOptions options_;
  MemoryNeed need_;
  MemoryBudget budget_;
  MemoryPlan plan_;
};

}  // namespace carat::chat
