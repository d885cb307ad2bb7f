#include "server/models.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/printable.h"
#include "chat/grammars.h"
#include "server/errors.h"

namespace carat::server {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int32_t kUsualContext = 4096, kLeastContext = 512, kFewSequences = 8;
constexpr auto kTowerStays =
    std::chrono::minutes(2);  // after the last picture, or as long as models do where that is less

}  // namespace

Result<std::shared_ptr<Constraint>> ServedModel::begin(const Shape& shape) {
  {
    const std::lock_guard lock(grammars_mutex);
    if (!grammars) {
      CARAT_TRY(grammars, chat::make_grammars(*tokenizer, config().eos_ids));
    }
  }
  return chat::begin_shape(*grammars, shape);
}

// Freed on the loader's thread, where unmapping a model keeps nobody waiting but the next load, which needs its memory;
// by whoever lets go last where the loader has ended: a connection may outlive it.
struct Models::GivenUp : std::enable_shared_from_this<GivenUp> {
  std::mutex mutex;
  std::vector<std::unique_ptr<ServedModel>> models;
  Workers* loader = nullptr;

  void take(ServedModel* model) {
    std::unique_ptr<ServedModel> mine(model);
    const std::lock_guard lock(mutex);
    if (loader == nullptr) return;
    models.push_back(std::move(mine));
    loader->post([all = shared_from_this()] { all->free(); });
  }
  void free() {
    std::vector<std::unique_ptr<ServedModel>> going;
    const std::lock_guard lock(mutex);
    going.swap(models);
  }
};

Models::Models(const Store& store, Workers& workers, const ModelsOptions& options,
               std::function<void(std::function<void()>)> post, Generations::Observer observer)
    : store_(store),
      workers_(workers),
      options_(options),
      post_(std::move(post)),
      observer_(std::move(observer)),
      given_up_(std::make_shared<GivenUp>()) {
  given_up_->loader = &loader_;
}

Models::~Models() {
  shutdown();
  {
    const std::lock_guard lock(given_up_->mutex);
    given_up_->loader = nullptr;
  }
  given_up_->free();
}

void Models::pin(std::string name_or_path, std::vector<std::string> served_names) {
  pinned_path_ = std::move(name_or_path);
  pinned_names_ = std::move(served_names);
}

Result<std::string> Models::find(const std::string& name) const {
  if (has_pinned()) {
    if (std::find(pinned_names_.begin(), pinned_names_.end(), name) != pinned_names_.end()) return pinned_names_[0];
    return Error{ErrorCode::kNotFound, fmt::format("model '{}' not found", name)};
  }
  const auto parsed = ModelName::parse(name);
  if (!parsed) return Error{ErrorCode::kNotFound, fmt::format("model '{}' not found", escaped(name))};
  const auto stored = store_.find(*parsed);
  if (!stored) return for_clients(stored.error());
  return stored->name.text();
}

Result<ResolvedModel> Models::resolve(const std::string& name) const {
  CARAT_TRY(ResolvedModel resolved, store_.resolve(has_pinned() ? pinned_path_ : name));
  if (has_pinned() && !options_.mmproj.empty()) resolved.projector = options_.mmproj;
  return resolved;
}

Result<chat::OpenModel> Models::open(const std::string& name) const {
  CARAT_TRY(const std::string found, find(name));
  auto resolved = resolve(found);
  if (!resolved) return for_clients(resolved.error());
  auto file = ModelFile::open(resolved->path);
  if (!file) return for_clients(file.error());
  if (has_pinned()) resolved->name = name;
  return chat::OpenModel{std::move(*resolved), std::move(*file)};
}

void Models::acquire(const std::string& name, int32_t context, std::optional<KeepAlive> keep_alive, Ready ready) {
  auto found = find(name);
  if (!found) return ready(std::move(found.error()));
  Lease there;
  {
    const std::lock_guard lock(mutex_);
    const auto it = loaded_.find(*found);
    if (it != loaded_.end() && !it->second.leaving &&
        it->second.model->context >= std::min(context, it->second.model->config().context_length)) {
      if (keep_alive && !has_pinned()) it->second.keep_alive = *keep_alive;
      it->second.last_used = Clock::now();
      there = it->second.model;
    }
  }
  if (there) return ready(std::move(there));
  loader_.post(
      [this, waiting = std::make_shared<Waiting>(Waiting{std::move(*found), context, keep_alive, std::move(ready)})] {
        load_for(std::move(*waiting));
      });
}

// On the loader's thread.
void Models::load_for(Waiting waiting) {
  if (stopping_) return waiting.ready(Error{ErrorCode::kCancelled, "the server is shutting down"});
  Lease model;
  std::weak_ptr<ServedModel> too_small;
  {
    const std::lock_guard lock(mutex_);
    const auto it = loaded_.find(waiting.name);
    if (it != loaded_.end()) {
      const Lease& there = it->second.model;
      if (there->context >= std::min(waiting.context, there->config().context_length)) {
        model = there;
        it->second.last_used = Clock::now();
        if (waiting.keep_alive && !has_pinned()) it->second.keep_alive = *waiting.keep_alive;
      } else {
        too_small = there;
        loaded_.erase(it);
      }
    }
  }
  if (!model) {
    while (!too_small.expired() && !stopping_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    make_room();
    loading_ = true;
    auto loaded = load(waiting.name, waiting.context);
    while (!loaded.ok() && loaded.error().code == ErrorCode::kOutOfMemory && wait_to_unload()) {
      loaded = load(waiting.name, waiting.context);
    }
    loading_ = false;
    if (!loaded) {
      const bool starting = has_pinned() && !pinned_was_loaded_;  // then it is the operator who is told
      if (options_.tell && !starting) {
        options_.tell(fmt::format("{} was not loaded: {}", waiting.name, loaded.error().message));
      }
      workers_.post([ready = std::move(waiting.ready),
                     error = starting ? loaded.error() : for_clients(loaded.error())] { ready(error); });
      return;
    }
    model = *loaded;
    pinned_was_loaded_ = has_pinned();
    const std::lock_guard lock(mutex_);
    const KeepAlive keep = has_pinned() ? kForever : waiting.keep_alive.value_or(options_.keep_alive);
    loaded_.insert_or_assign(waiting.name, Entry{model, keep, Clock::now()});
  }
  workers_.post([ready = std::move(waiting.ready), model = std::move(model)]() mutable { ready(std::move(model)); });
}

// Unloads the model that was used longest ago and is idle. False: none is.
bool Models::unload_oldest() {
  Lease going;
  {
    const std::lock_guard lock(mutex_);
    auto oldest = loaded_.end();
    for (auto it = loaded_.begin(); it != loaded_.end(); ++it) {
      if (is_idle(it->second) && (oldest == loaded_.end() || it->second.last_used < oldest->second.last_used)) {
        oldest = it;
      }
    }
    if (oldest == loaded_.end()) return false;
    going = std::move(oldest->second.model);
    loaded_.erase(oldest);
    for (auto& [name, entry] : loaded_) entry.leaving = false;
  }
  going.reset();
  given_up_->free();
  return true;
}

// Waits until a model can be unloaded. The one that was used longest ago takes no new requests meanwhile: clients that
// always ask for the same models do not keep others waiting for ever. False: none is loaded, or the end has come.
bool Models::wait_to_unload() {
  while (!stopping_) {
    if (unload_oldest()) return true;
    {
      const std::lock_guard lock(mutex_);
      if (loaded_.empty()) return false;
      const auto is_leaving = [](const auto& one) { return one.second.leaving; };
      const auto is_older = [](const auto& a, const auto& b) { return a.second.last_used < b.second.last_used; };
      if (std::none_of(loaded_.begin(), loaded_.end(), is_leaving)) {
        std::min_element(loaded_.begin(), loaded_.end(), is_older)->second.leaving = true;
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// Room for one more.
void Models::make_room() {
  const auto full = [this] {
    const std::lock_guard lock(mutex_);
    return static_cast<int32_t>(loaded_.size()) >= options_.max_loaded;
  };
  while (full() && wait_to_unload()) {
  }
  given_up_->free();
}

Result<Lease> Models::load(const std::string& name, int32_t context) {
  const auto start = Clock::now();
  CARAT_TRY(ResolvedModel resolved, resolve(name));
  CARAT_TRY(ModelFile file, ModelFile::open(resolved.path));
  auto served = std::make_unique<ServedModel>();
  served->name = name;
  served->model = {std::move(resolved), std::move(file)};
  served->facts = std::make_shared<const chat::ModelFacts>(chat::facts_of(served->model));
  const ModelConfig& config = served->config();
  CARAT_TRY(served->defaults, chat::generation_of(served->model, {}));
  if (auto format = chat::PromptFormat::of(served->model, false); format.ok()) {
    served->format = std::move(*format);
  } else {
    served->refuses_chat = format.error();
  }
  CARAT_TRY(Tokenizer tokenizer, chat::load_tokenizer(served->model.file));
  served->tokenizer = std::make_unique<Tokenizer>(std::move(tokenizer));
  const Concurrency usual = usual_concurrency(options_.backend);
  EngineOptions engine;
  engine.context =
      std::max({context, options_.context, options_.context == 0 ? kUsualContext : 0, served->defaults.context});
  engine.context = std::min(engine.context, config.context_length);
  CARAT_TRY(const chat::MemoryBudget there_is, budget());
  CARAT_TRY(const chat::StepRows rows, chat::plan_rows(usual, options_.chunk, there_is, [&](int32_t of_step) {
              return memory_need(options_.backend, config, served->model.file.weights, of_step);
            }));
  engine.max_rows = rows.most;
  engine.beside_rows = rows.beside;
  engine.max_sequences = options_.max_sequences > 0 ? options_.max_sequences : usual.sequences;
  const bool share = options_.whole_contexts > 0 || options_.max_sequences == 0;
  if (share) engine.whole_contexts = std::max(options_.whole_contexts, usual.whole_contexts);
  CARAT_TRY(const MemoryNeed with_tower, open_eyes(*served, rows.need));
  const int32_t least = std::min(engine.context, std::max(context, kLeastContext));
  auto planned = chat::plan_memory(with_tower, config, engine, least, there_is);
  if (!planned.ok() && served->pictures) {  // text at least
    served->refuses_pictures = {ErrorCode::kOutOfMemory,
                                fmt::format("{} sees no pictures here: its vision tower does not fit into the memory "
                                            "of {}",
                                            name, there_is.whose)};
    served->pictures.reset();
    planned = chat::plan_memory(rows.need, config, engine, least, there_is);
  }
  CARAT_TRY(chat::MemoryPlan plan, std::move(planned));
  CARAT_TRY(served->backend, create_backend(options_.backend, config, served->model.file.weights));
  if (const std::string note = served->backend->info().note; !note.empty() && options_.tell) {
    options_.tell(fmt::format("{}: {}", name, note));
  }
  auto made = Engine::create(*served->backend, config, plan.engine);
  // A device may have less than the machine: fewer sequences then, where their number is ours to choose.
  while (!made.ok() && made.error().code == ErrorCode::kOutOfMemory && options_.max_sequences == 0 &&
         plan.engine.max_sequences > kFewSequences) {
    EngineOptions fewer = plan.engine;
    fewer.max_sequences /= 2;
    fewer.whole_contexts = std::max(1, fewer.whole_contexts / 2);
    CARAT_TRY(plan, chat::plan_memory(rows.need, config, fewer, least, there_is));
    made = Engine::create(*served->backend, config, plan.engine);
  }
  CARAT_TRY(served->engine, std::move(made));
  served->planned_bytes = plan.total();
  served->context = plan.engine.context;
  served->global_pages = served->engine->free_global_pages();
  served->generations = std::make_unique<Generations>(*served->engine, *served->tokenizer, config.eos_ids,
                                                      options_.max_waiting, post_, observer_);
  served->load_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (options_.tell) {
    options_.tell(fmt::format("{} runs on {}, {} tokens of context, loaded in {:.1f} s", name,
                              where_it_runs(served->backend->info(), options_.backend), served->context,
                              served->load_seconds));
  }
  // Whoever lets go last, the loader's thread frees it: unmapping a model takes a while.
  return Lease(served.release(), [given_up = given_up_](ServedModel* model) { given_up->take(model); });
}

// Finds the vision tower, which is loaded with the first picture: its memory is set aside.
Result<MemoryNeed> Models::open_eyes(ServedModel& served, MemoryNeed need) const {
  served.refuses_pictures = chat::sees_nothing(served.name);
  auto tower = chat::tower_of(served.model, "");
  if (!tower.ok()) {
    if (!options_.mmproj.empty()) return tower.error();
    served.refuses_pictures = tower.error();
    return need;
  }
  if (!*tower) return need;
  auto pictures = std::make_unique<chat::PictureEncoder>(options_.backend, std::move(*tower));
  pictures->take_ids_of(*served.tokenizer);
  CARAT_TRY(const uint64_t bytes, pictures->needed_bytes());
  need.weights += bytes;
  served.pictures = std::move(pictures);
  return need;
}

// What is left for one more model. The machine knows itself what the others took; --memory has to be told.
Result<chat::MemoryBudget> Models::budget() const {
  CARAT_TRY(chat::MemoryBudget budget, chat::memory_budget(options_.memory, options_.backend));
  if (options_.memory.empty()) return budget;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, entry] : loaded_) {
    budget.bytes -= std::min(budget.bytes, entry.model->planned_bytes);
  }
  return budget;
}

void Models::unload(const std::string& name) {
  const auto found = find(name);
  if (!found || has_pinned()) return;
  Lease going;
  const std::lock_guard lock(mutex_);
  if (const auto it = loaded_.find(*found); it != loaded_.end()) {
    going = std::move(it->second.model);
    loaded_.erase(it);
  }
}

void Models::expire() {
  std::vector<Lease> going;
  std::vector<std::weak_ptr<ServedModel>> seeing;
  const auto now = Clock::now();
  std::unique_lock lock(mutex_);
  for (auto it = loaded_.begin(); it != loaded_.end();) {
    Entry& entry = it->second;
    if (!is_idle(entry)) entry.last_used = now;
    if (entry.model->pictures) seeing.emplace_back(entry.model);
    if (is_idle(entry) && entry.keep_alive != kForever && now - entry.last_used >= entry.keep_alive) {
      going.push_back(std::move(entry.model));
      it = loaded_.erase(it);
    } else {
      ++it;
    }
  }
  lock.unlock();
  close_eyes(std::move(seeing));
}

// Towers that have seen nothing for a while go; the models stay.
void Models::close_eyes(std::vector<std::weak_ptr<ServedModel>> models) {
  if (models.empty() || closing_eyes_.exchange(true)) return;
  eyes_.post([this, models = std::move(models)] {
    const Clock::duration stays =
        options_.keep_alive < kTowerStays ? Clock::duration(options_.keep_alive) : Clock::duration(kTowerStays);
    for (const std::weak_ptr<ServedModel>& model : models) {
      if (const Lease there = model.lock()) there->pictures->unload_after(stays);
    }
    closing_eyes_ = false;
  });
}

std::vector<LoadedModelInfo> Models::loaded() const {
  std::vector<LoadedModelInfo> all;
  const auto now = Clock::now();
  const auto wall = std::chrono::system_clock::now();
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, entry] : loaded_) {
      LoadedModelInfo info;
      const ServedModel& served = *entry.model;
      const BackendInfo backend = served.backend->info();
      info.name = name;
      info.facts = served.facts;
      info.bytes = backend.weight_bytes + backend.kv_bytes;
      info.backend = backend.name;
      info.context = served.context;
      info.load = served.generations->load();
      if (served.global_pages != 0) {
        info.kv_usage = 1 - static_cast<double>(info.load.free_global_pages) / static_cast<double>(served.global_pages);
      }
      if (entry.keep_alive != kForever) {
        const auto since = is_idle(entry) ? now - entry.last_used : Clock::duration(0);
        info.expires = wall + std::chrono::duration_cast<std::chrono::system_clock::duration>(entry.keep_alive - since);
      }
      all.push_back(std::move(info));
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return (a.expires ? *a.expires : std::chrono::system_clock::time_point::max()) >
           (b.expires ? *b.expires : std::chrono::system_clock::time_point::max());
  });
  return all;
}

void Models::shutdown() {
  std::map<std::string, Entry> going;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    going.swap(loaded_);
  }
  for (auto& [name, entry] : going) entry.model->generations->abandon();
}

}  // namespace carat::server
