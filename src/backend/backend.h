// The one interface between engine and hardware: called once per step or rarer, never per layer or per operation.
// A backend owns every byte on its device, its layouts and its fusion; the engine owns page numbers and the order of
// work.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/step.h"
#include "model/weights.h"

namespace carat {

enum class Precision : uint8_t {
  kExact,  // activations in 15 bits, a scale per 32 elements: costs 1e-6 of KL divergence
  kFast,   // devices only: as many bits as are fastest there
};

struct BackendOptions {
  // "cpu" picks the best ISA, "cpu/avx2" forces one; "cuda"; "auto" is that where there is a device; "reference" is the oracle.
  std::string name = "cpu";
  int threads = 0;  // 0: one per physical core that this process may use
  Precision precision = Precision::kExact;
  std::optional<DType> head_type = {};  // own_head.h; none: as the file has it
  // What sums of 16- and 32-bit weights come to does not depend on how many rows a step has; quantised weights' never do, nor
  // the CPU's.
  bool batch_invariant = false;
};

struct KvPlan {
  int32_t global_pages = 0;  // pages of P tokens on every global layer
  int32_t local_pages = 0;   // pages of P tokens on every sliding layer
  int32_t max_rows = 0;      // the largest T of a step
  int32_t slots = 1;         // sampled tokens that are kept for rows of later steps
};

// Bytes of memory, known before anything is loaded.
struct MemoryNeed {
  uint64_t weights = 0;      // packed, or resident while they are read from a mapped file
  uint64_t global_page = 0;  // one page on all global layers
  uint64_t local_page = 0;   // one page on all sliding layers
  uint64_t activations = 0;  // working memory of steps of `max_rows` rows
  uint64_t logits_row = 0;   // each row of logits that a step may ask for
};

struct StageTime {
  double seconds = 0;
  uint64_t weight_bytes = 0;  // bytes of packed weights that the stage had to read
};

struct BackendInfo {
  std::string name;           // what runs: "cpu/avx2"
  int threads = 0;            // of a device: its multiprocessors
  uint64_t weight_bytes = 0;  // resident packed weights
  uint64_t kv_bytes = 0;      // resident KV cache
  uint64_t decode_bytes = 0;  // packed weights that one decoded token reads
  std::string note = {};      // for people: in what it differs from the file's model; empty: in nothing
  std::string device = {};    // "NVIDIA H100 80GB HBM3"; empty: the processor
};

class Backend {
 public:
  using Ticket = uint64_t;
  virtual ~Backend() = default;

  virtual BackendInfo info() const = 0;
  // Allocates the KV cache and the slots; what they held is gone. No step may be in flight. Errors: kOutOfMemory.
  virtual Status reserve_kv(const KvPlan& plan) = 0;
  // Starts a step; steps are computed in the order of their submission. What the step's spans point to must stay valid
  // until its wait() has returned. At most two tickets are in flight.
  // Errors: kInvalidArgument for a step that does not fit the plan (rows, pages, slots, ids out of range): nothing is
  // computed then.
  virtual Result<Ticket> submit(const Step& step) = 0;
  // Waits for a step, the oldest first. The result is valid until the second submit() from now.
  // Errors: kOutOfMemory; a device's own failure.
  virtual Result<StepResult> wait(Ticket ticket) = 0;
  // Time and bytes per stage of the steps waited for since the last call.
  virtual std::array<StageTime, kStageCount> stage_times() = 0;
};

// Checks a step against the plan, for every backend alike: rows cover the sequences in order, ids, pages, slots,
// embeddings and visible ranges lie in range. Errors: kInvalidArgument, naming what was found.
Status check_step(const Step& step, const KvPlan& plan, const ModelConfig& config);

// Loads the weights (their mapped pages are released as they are packed; `reference` keeps reading them).
// Errors: kInvalidArgument for an unknown name, listing what there is and what this machine lacks; kOutOfMemory.
Result<std::unique_ptr<Backend>> create_backend(const BackendOptions& options, const ModelConfig& config,
                                                const Weights& weights);

// What such a backend will take. Errors: as create_backend.
Result<MemoryNeed> memory_need(const BackendOptions& options, const ModelConfig& config, const Weights& weights,
                               int32_t max_rows);

// How a server shares a backend where nobody says so: a device computes hundreds of sequences in the time of one, a
// processor a few.
struct Concurrency {
  int32_t sequences = 8;       // at once
  int32_t rows = 256;          // of a step
  int32_t alone_rows = 256;    // of a step that one sequence has for itself, where there is plenty of memory
  int32_t whole_contexts = 0;  // that all share (engine.h), where there are so many sequences that few are long
};

// Of the backend that the options mean on this machine.
Concurrency usual_concurrency(const BackendOptions& options);

// The memory that weights, caches and activations of such a backend are in, and how much of it is free.
struct FreeMemory {
  std::string whose;  // "this machine", "NVIDIA H100 80GB HBM3"
  uint64_t bytes = 0;
};
Result<FreeMemory> free_memory(const BackendOptions& options);

// Bytes a second that the device of such a backend reads of its memory; none for the processor. Errors: kOutOfMemory.
std::optional<Result<double>> device_read_bandwidth(const BackendOptions& options);

// Every backend name that this machine can run, best first: {"cpu/avx2", "cpu/portable", "reference"}.
std::vector<std::string> backend_names();

// Those that are built in, and whose instructions this machine lacks.
std::vector<std::string> missing_backend_names();

// The device of the backend "cuda", or why there is none.
Result<std::string> describe_gpu();

// Where a model runs, for people: "cuda on NVIDIA H100 80GB HBM3, 132 multiprocessors", "cpu/avx2 with 2 threads"; and where that
// was left to us and is the processor, why: " (this machine has no NVIDIA driver)".
std::string where_it_runs(const BackendInfo& info, const BackendOptions& options);

// Why this process can use its device no more: a CUDA error, after which everything fails, or a step that never ended. All
// requests fail with it; who runs the process says so and ends it, waiting for nothing (std::_Exit). Any thread.
std::optional<std::string> lost_device();

}  // namespace carat
