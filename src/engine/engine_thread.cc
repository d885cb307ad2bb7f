#include "engine/engine_thread.h"

#include <algorithm>

namespace carat {

EngineThread::EngineThread(Engine& engine, int32_t max_waiting, Publish publish)
    : engine_(engine), max_waiting_(static_cast<size_t>(max_waiting)), publish_(std::move(publish)) {
  load_.free_global_pages = engine_.free_global_pages();
  thread_ = std::thread([this] { loop(); });
}

EngineThread::~EngineThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

bool EngineThread::submit(Work work) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || waiting_.size() >= max_waiting_) return false;
    waiting_.push_back({std::move(work), Clock::now()});
    load_.waiting = static_cast<int32_t>(waiting_.size());
  }
  wake_.notify_one();
  return true;
}

void EngineThread::cancel(WorkId id) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  wake_.notify_one();
}

EngineThread::Load EngineThread::load() const {
  const std::lock_guard lock(mutex_);
  return load_;
}

void EngineThread::choose(std::vector<Waiting>& admitted, std::vector<WorkEvent>& out) {
  for (const WorkId id : cancelled_) {
    const auto it = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& w) { return w.work.id == id; });
    if (it == waiting_.end()) continue;
    WorkEvent event;
    event.id = id;
    event.event.finish = FinishReason::kCancelled;
    event.event.usage.prompt_tokens = static_cast<int32_t>(it->work.request.prompt.size());
    out.push_back(std::move(event));
    waiting_.erase(it);
  }
  const auto room = static_cast<size_t>(engine_.options().max_sequences);
  while (!waiting_.empty() && running_.size() + admitted.size() < room) {
    const auto running_of = [&](const Waiting& w) {
      const auto it = running_by_client_.find(w.work.client);
      return it == running_by_client_.end() ? 0 : it->second;
    };
    const auto next = std::min_element(waiting_.begin(), waiting_.end(), [&](const Waiting& a, const Waiting& b) {
      if (a.work.priority != b.work.priority) return a.work.priority < b.work.priority;
      return running_of(a) < running_of(b);
    });
    ++running_by_client_[next->work.client];
    admitted.push_back(std::move(*next));
    waiting_.erase(next);
  }
  load_.waiting = static_cast<int32_t>(waiting_.size());
}

void EngineThread::admit(Waiting waiting, std::vector<WorkEvent>& out) {
  Work& work = waiting.work;
  const double queue_seconds = std::chrono::duration<double>(Clock::now() - waiting.since).count();
  const auto prompt_tokens = static_cast<int32_t>(work.request.prompt.size());
  const auto id = engine_.submit(std::move(work.request));
  if (id) {
    running_.emplace(*id, Running{work.id, std::move(work.client), queue_seconds});
    return;
  }
  if (--running_by_client_[work.client] == 0) running_by_client_.erase(work.client);
  WorkEvent event;
  event.id = work.id;
  event.event.finish = FinishReason::kError;
  event.event.usage.prompt_tokens = prompt_tokens;
  event.event.error = id.error();
  out.push_back(std::move(event));
}

void EngineThread::translate(std::vector<Event>& events, std::vector<WorkEvent>& out) {
  for (Event& event : events) {
    const auto it = running_.find(event.request);
    if (it == running_.end()) continue;
    Running& running = it->second;
    WorkEvent told;
    told.id = running.id;
    if (!std::exchange(running.told, true)) told.queue_seconds = running.queue_seconds;
    const bool ended = event.finish != FinishReason::kNone;
    told.event = std::move(event);
    out.push_back(std::move(told));
    if (!ended) continue;
    if (--running_by_client_[running.client] == 0) running_by_client_.erase(running.client);
    running_.erase(it);
  }
  events.clear();
}

void EngineThread::loop() {
  std::vector<Event> events;
  std::vector<Waiting> admitted;
  std::vector<WorkId> cancelled;
  bool busy = false;
  while (true) {
    std::vector<WorkEvent> out;
    {
      std::unique_lock lock(mutex_);
      if (!busy) {
        wake_.wait(lock, [&] { return stopping_ || !waiting_.empty() || !cancelled_.empty(); });
      }
      if (stopping_) {
        for (const Waiting& waiting : waiting_) cancelled_.push_back(waiting.work.id);
        for (const auto& [id, running] : running_) cancelled_.push_back(running.id);
      }
      choose(admitted, out);
      cancelled = std::exchange(cancelled_, {});
      if (stopping_ && running_.empty() && admitted.empty()) {
        lock.unlock();
        if (!out.empty()) publish_(std::move(out));
        return;
      }
    }
    for (Waiting& waiting : admitted) admit(std::move(waiting), out);
    admitted.clear();
    for (const WorkId id : cancelled) {
      const auto it = std::find_if(running_.begin(), running_.end(), [&](const auto& r) { return r.second.id == id; });
      if (it != running_.end()) engine_.cancel(it->first);
    }
    busy = engine_.step(events);
    translate(events, out);
    {
      const std::lock_guard lock(mutex_);
      load_.running = static_cast<int32_t>(running_.size());
      load_.free_global_pages = engine_.free_global_pages();
      load_.preemptions = engine_.preemptions();
      ++load_.steps;
    }
    if (!out.empty()) publish_(std::move(out));
  }
}

}  // namespace carat
