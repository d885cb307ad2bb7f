// One thread that owns an engine: requests come in through a bounded queue, events go out once a step. Who is admitted
// next is decided here, by priority, then by who has least running, then by who came first, so that one client with a
// hundred requests does not keep the others waiting.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"

namespace carat {

// A number that the caller chose, the same for a request's events.
using WorkId = uint64_t;

struct Work {
  WorkId id = 0;
  Request request;
  std::string client;    // fairness is among these
  int32_t priority = 0;  // lower goes first, as vLLM has it
};

struct WorkEvent {
  WorkId id = 0;
  Event event;               // a request that the engine refuses ends with kError too
  double queue_seconds = 0;  // from submit to the engine; with the first event
};

class EngineThread {
 public:
  // Calls on the engine's thread, between steps: short, never blocking.
  using Publish = std::function<void(std::vector<WorkEvent> events)>;

  struct Load {
    int32_t running = 0, waiting = 0;
    int32_t free_global_pages = 0;
    uint64_t steps = 0, preemptions = 0;
  };

  // The engine must outlive it, and is nobody else's from now on.
  EngineThread(Engine& engine, int32_t max_waiting, Publish publish);
  ~EngineThread();  // cancels what runs; its last events are published before it returns
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  // False: the queue is full. Any thread.
  [[nodiscard]] bool submit(Work work);
  // Within one step: its last event is kCancelled, unless it ended before. Any thread.
  void cancel(WorkId id);
  Load load() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    Work work;
    Clock::time_point since;
  };
  struct Running {
    WorkId id;
    std::string client;
    double queue_seconds;
    bool told = false;
  };

  void loop();
  // With the lock held: moves waiting work to `admitted` while there is room, answers cancellations of waiting work.
  void choose(std::vector<Waiting>& admitted, std::vector<WorkEvent>& out);
  void admit(Waiting waiting, std::vector<WorkEvent>& out);
  void translate(std::vector<Event>& events, std::vector<WorkEvent>& out);

  Engine& engine_;
  const size_t max_waiting_;
  const Publish publish_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Waiting> waiting_;   // in the order they came
  std::vector<WorkId> cancelled_;  // not yet seen by the thread
  Load load_;
  bool stopping_ = false;

  // The thread's own.
  std::unordered_map<RequestId, Running> running_;
  std::unordered_map<std::string, int32_t> running_by_client_;
  std::thread thread_;
};

}  // namespace carat
