// The models that are in memory: loaded when a request names them, shared by all requests, unloaded when they have been
// idle for their keep-alive, or when another needs the room and they were used longest ago.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "chat/generation_options.h"
#include "chat/memory_plan.h"
#include "chat/model_facts.h"
#include "chat/open_model.h"
#include "chat/pictures.h"
#include "chat/prompt_format.h"
#include "server/generation.h"
#include "server/shape.h"
#include "server/workers.h"
#include "store/store.h"

namespace carat::server {

// Ollama's keep_alive: how long a model stays after its last request. Forever: max().
using KeepAlive = std::chrono::milliseconds;
inline constexpr KeepAlive kForever = KeepAlive::max();

struct ModelsOptions {
  BackendOptions backend;
  int32_t context = 0;         // positions of a sequence, at most the model's; 0: 4096
  int32_t whole_contexts = 0;  // that there is memory for (engine.h); 0: for all sequences
  int32_t max_sequences = 0;   // of one model at once; 0: what suits the backend
  int32_t chunk = 0;           // rows of a step; 0: likewise
  int32_t max_waiting = 512;   // requests of one model that wait for a place
  int32_t max_loaded = 3;
  KeepAlive keep_alive = std::chrono::minutes(5);
  std::string mmproj;         // the vision tower of another file, for the model that is pinned
  bool pan_and_scan = false;  // of every picture
  std::string memory;  // a hard budget for all models together, as people write it: 2G; empty: what the machine has
  std::function<void(const std::string& line)> tell;  // why a model could not be loaded, with its path; any thread
};

// One model, ready to answer.
struct ServedModel {
  std::string name;  // "gemma3:270m-pt"
  chat::OpenModel model;
  std::shared_ptr<const chat::ModelFacts> facts;
  chat::GenerationOptions defaults;  // the makers', then the manifest's
  chat::PromptFormat format;
  std::optional<Error> refuses_chat;  // its template is not known: it completes text, and says so to whoever chats
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<chat::PictureEncoder>
      pictures;            // the eyes' thread's own, but for its config(); null: it sees nothing
  Error refuses_pictures;  // then: why
  std::mutex grammars_mutex;
  std::shared_ptr<Grammars> grammars;  // made for the first request that asks for a shape
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Generations> generations;  // dies first: its thread uses all of the above
  int32_t context = 0;
  int32_t global_pages = 0;
  uint64_t planned_bytes = 0;  // weights, KV cache and working memory
  double load_seconds = 0;

  const ModelConfig& config() const { return model.file.config; }
  // The beginning of an answer of that shape. Takes a while: not on the network's thread. Errors: kInvalidArgument, with
  // what is wrong with it; kUnsupported where the program was built without the grammar engine.
  Result<std::shared_ptr<Constraint>> begin(const Shape& shape);
};
using Lease = std::shared_ptr<ServedModel>;

// An entry of /api/ps. It is no use of the model: whoever looks keeps nothing in memory.
struct LoadedModelInfo {
  std::string name;
  std::shared_ptr<const chat::ModelFacts> facts;
  uint64_t bytes = 0;
  std::string backend;
  int32_t context = 0;
  std::optional<std::chrono::system_clock::time_point> expires;  // none: never
  EngineThread::Load load;
  double kv_usage = 0;  // 0 to 1
};

class Models {
 public:
  // `post` runs a task on the network thread. Store and workers must outlive this.
  Models(const Store& store, Workers& workers, const ModelsOptions& options,
         std::function<void(std::function<void()>)> post, Generations::Observer observer);
  ~Models();

  // A model that is served under these names whatever the store holds, and stays.
  void pin(std::string name_or_path, std::vector<std::string> served_names);
  bool has_pinned() const { return !pinned_names_.empty(); }
  const std::vector<std::string>& pinned_names() const { return pinned_names_; }

  // The canonical name. Errors: kNotFound "model 'x' not found", kInvalidArgument. Never a path, never the network.
  Result<std::string> find(const std::string& name) const;

  // The model's files, opened to look into them. Errors: those of find and of ModelFile::open.
  Result<chat::OpenModel> open(const std::string& name) const;

  // Calls `ready` on a worker once the model is there, with room for `context` positions a sequence (0: the usual).
  // Errors: those of find, ModelFile::open, create_backend, Engine::create; kOutOfMemory, before anything is loaded.
  using Ready = std::function<void(Result<Lease>)>;
  void acquire(const std::string& name, int32_t context, std::optional<KeepAlive> keep_alive, Ready ready);

  // Forgets it as soon as nobody uses it.
  void unload(const std::string& name);
  // What has been idle for too long goes. Call it now and then.
  void expire();

  std::vector<LoadedModelInfo> loaded() const;  // the one that stays longest first
  bool is_loading() const { return loading_; }
  const ModelsOptions& options() const { return options_; }
  Workers& eyes() { return eyes_; }  // the thread that looks at pictures
  // After the network has stopped: everything goes.
  void shutdown();

 private:
  struct Entry {
    Lease model;
    KeepAlive keep_alive;
    std::chrono::steady_clock::time_point last_used;
    bool leaving = false;  // goes as soon as nobody uses it: who asks for it now waits for the loader
  };
  struct GivenUp;  // models that nobody uses any more
  struct Waiting {
    std::string name;
    int32_t context;
    std::optional<KeepAlive> keep_alive;
    Ready ready;
  };

  Result<ResolvedModel> resolve(const std::string& name) const;
  Result<Lease> load(const std::string& name, int32_t context);
  Result<chat::MemoryBudget> budget() const;
  bool unload_oldest();
  bool wait_to_unload();
  void make_room();
  void load_for(Waiting waiting);
  void close_eyes(std::vector<std::weak_ptr<ServedModel>> models);
  Result<MemoryNeed> open_eyes(ServedModel& served, MemoryNeed need) const;
  static bool is_idle(const Entry& entry) { return entry.model.use_count() == 1; }

  const Store& store_;
  Workers& workers_;
  const ModelsOptions options_;
  const std::function<void(std::function<void()>)> post_;
  const Generations::Observer observer_;
  bool pinned_was_loaded_ = false;  // the loader's thread
  std::string pinned_path_;
  std::vector<std::string> pinned_names_;

  mutable std::mutex mutex_;
  std::map<std::string, Entry> loaded_;
  const std::shared_ptr<GivenUp> given_up_;
  std::atomic<bool> stopping_{false}, loading_{false};
  std::atomic<bool> closing_eyes_{false};
  Workers eyes_{1};
  Workers loader_{1};  // loads and unloads, one at a time
};

}  // namespace carat::server
