#include "chat/loaded_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/memory.h"
#include "chat/human.h"

namespace carat::chat {

namespace {

EngineOptions engine_options(const LoadOptions& options, int64_t context) {
  EngineOptions wanted;
  wanted.context = static_cast<int32_t>(context);
  wanted.max_rows = options.chunk;
  wanted.max_sequences = options.max_sequences;
  return wanted;
}

}  // namespace

Result<LoadedModel> LoadedModel::load(OpenModel model, const LoadOptions& options) {
  LoadedModel loaded = later(std::move(model), options);
  CARAT_CHECK(loaded.ensure_loaded());
  return loaded;
}

Status LoadedModel::room_for(uint64_t bytes, const char* what) {
  CARAT_CHECK(ensure_loaded());
  if (plan_.total() + bytes <= budget_.bytes) return {};
  return Error{ErrorCode::kOutOfMemory,
               fmt::format("not enough memory: {} needs {} beside the {} of the model, and {} has {}", what,
                           human_bytes(bytes), human_bytes(plan_.total()), budget_.whose, human_bytes(budget_.bytes))};
}

LoadedModel LoadedModel::later(OpenModel model, const LoadOptions& options) {
  LoadedModel loaded;
  loaded.model_ = std::make_unique<OpenModel>(std::move(model));
  loaded.options_ = options;
  return loaded;
}

Status LoadedModel::ensure_loaded() {
  constexpr int32_t kSmallest = 512;  // a context that is of any use
  if (backend_) return {};
  const ModelFile& file = model_->file;
  CARAT_TRY(budget_, memory_budget(options_.memory, options_.backend));
  CARAT_TRY(const StepRows rows,
            plan_rows(usual_concurrency(options_.backend), options_.chunk, budget_, [&](int32_t of_step) {
              return memory_need(options_.backend, file.config, file.weights, of_step);
            }));
  options_.chunk = rows.most;
  need_ = rows.need;
  const int32_t least = std::min(kSmallest, file.config.context_length);
  CARAT_TRY(plan_, plan_memory(need_, file.config, engine_options(options_, least), least, budget_));
  auto backend = with_memory([&] { return create_backend(options_.backend, file.config, file.weights); });
  CARAT_CHECK(check(file.maps));  // first: a file that changed explains every other error
  CARAT_TRY(backend_, std::move(backend));
  return {};
}

Result<Engine*> LoadedModel::engine_of(int64_t context, int64_t least) {
  CARAT_CHECK(ensure_loaded());
  if (engine_ && engine_->options().context >= least) return engine_.get();
  if (least > config().context_length) {
    return Error{ErrorCode::kTooLong, fmt::format("prompt and answer need a context of {} tokens, and the model has {}",
                                                  least, config().context_length)};
  }
  const int64_t wanted = std::clamp<int64_t>(context, least, config().context_length);
  CARAT_TRY(plan_,
            plan_memory(need_, config(), engine_options(options_, wanted), static_cast<int32_t>(least), budget_));
  engine_.reset();
  CARAT_TRY(engine_, with_memory([&] { return Engine::create(*backend_, config(), plan_.engine); }));
  return engine_.get();
}

}  // namespace carat::chat
