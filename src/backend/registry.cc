// Which backends there are, by name.
#include <fmt/format.h>

#include <algorithm>

#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/cpu_vision.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/cuda_vision.h"
#include "backend/own_head.h"
#include "backend/reference/reference_backend.h"
#include "backend/reference/reference_vision.h"
#include "backend/vision_encoder.h"
#include "base/topology.h"

namespace carat {

std::vector<std::string> backend_names() {
  std::vector<std::string> names;
  for (const cpu::Kernels* kernels : cpu::available_kernels()) names.emplace_back(kernels->name);
  names.emplace_back("reference");
  return names;
}

std::vector<std::string> missing_backend_names() { return cpu::missing_kernels(); }

Result<std::string> describe_gpu() { return cuda::describe_device(); }

std::string where_it_runs(const BackendInfo& info, const BackendOptions& options) {
  if (!info.device.empty()) return fmt::format("{} on {}, {} multiprocessors", info.name, info.device, info.threads);
  std::string where = fmt::format("{} with {} thread{}", info.name, info.threads, info.threads == 1 ? "" : "s");
  if (options.name != "auto") return where;
  const auto gpu = describe_gpu();
  return gpu.ok() ? where : fmt::format("{} ({})", where, gpu.error().message);
}

namespace {

std::string cuda_state() {
  const auto device = describe_gpu();
  return device.ok() ? *device : device.error().message;
}

// Whether a name means the device: "cuda", or "auto" where there is one that this build has kernels for.
bool means_device(const BackendOptions& options) {
  if (options.name != "auto") return options.name == "cuda";
  static const bool there = cuda::describe_device().ok();
  return there;
}

// The kernels that a name asks for; none for the reference. Errors: kInvalidArgument, listing what there is.
Result<const cpu::Kernels*> find_kernels(const BackendOptions& options) {
  if (options.threads < 0 || options.threads > 1024) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("threads is {}; it must be 1 to 1024, or 0 for all cores", options.threads)};
  }
  if (options.name == "reference") return nullptr;
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    if (options.name == "cpu" || options.name == "auto" || options.name == kernels->name) return kernels;
  }
  const auto missing = cpu::missing_kernels();
  if (std::find(missing.begin(), missing.end(), options.name) != missing.end()) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("backend {} needs instructions that this machine lacks; it has {}", options.name,
                             fmt::join(backend_names(), ", "))};
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("unknown backend '{}'; this machine has auto, cpu (the best of them), {}; cuda: {}",
                           options.name, fmt::join(backend_names(), ", "), cuda_state())};
}

}  // namespace

Result<FreeMemory> free_memory(const BackendOptions& options) {
  if (means_device(options)) return cuda::device_free_memory();
  return FreeMemory{"this machine", usable_memory_bytes()};
}

std::optional<Result<double>> device_read_bandwidth(const BackendOptions& options) {
  if (!means_device(options)) return std::nullopt;
  return cuda::device_bandwidth();
}

Concurrency usual_concurrency(const BackendOptions& options) {
  if (!means_device(options)) return {};
  const auto device = cuda::device_concurrency();
  return device.ok() ? *device : Concurrency{};  // without one there will be no backend either
}

Result<std::unique_ptr<Backend>> create_backend(const BackendOptions& options, const ModelConfig& config,
                                                const Weights& weights) {
  if (options.head_type) {
    BackendOptions rest = options;
    rest.head_type.reset();
    return create_with_own_head(config, weights, *options.head_type, options.threads, options.name == "reference",
                                [&](const Weights& with) { return create_backend(rest, config, with); });
  }
  if (means_device(options)) {
    BackendOptions device = options;
    if (options.name == "auto") device.threads = 0;  // they were meant for the processor
    auto made = cuda::create_cuda_backend(device, config, weights);
    CARAT_CHECK(whole(weights.maps));  // first: a file that changed explains every other error
    return made;
  }
  CARAT_TRY(const cpu::Kernels* kernels, find_kernels(options));
  if (kernels == nullptr) {
    CARAT_CHECK(check_finite(config, weights));
    CARAT_CHECK(whole(weights.maps));
    return create_reference_backend(config, weights);
  }
  return cpu::create_cpu_backend(*kernels, options, config, weights);
}

namespace {

// A tower whose shape the device's kernels do not take runs on the CPU, beside a text model on the device.
bool runs_on_device(const BackendOptions& options, const VisionTower& tower) {
  return means_device(options) && cuda::cuda_vision_bytes(options, tower).ok();
}

// The kernels of a tower that does not run on the device.
Result<const cpu::Kernels*> find_vision_kernels(BackendOptions options) {
  if (options.name == "cuda") options.name = "cpu";
  return find_kernels(options);
}

}  // namespace

Result<std::unique_ptr<VisionEncoder>> create_vision_encoder(const BackendOptions& options,
                                                             std::shared_ptr<const VisionTower> tower) {
  if (runs_on_device(options, *tower)) {
    CARAT_CHECK(check(tower->maps));
    CARAT_CHECK(check_finite(tower->weights));
    return cuda::create_cuda_vision(options, std::move(tower));
  }
  CARAT_TRY(const cpu::Kernels* kernels, find_vision_kernels(options));
  CARAT_CHECK(check(tower->maps));  // first: a file that changed explains every other error
  CARAT_CHECK(check_finite(tower->weights));
  if (kernels == nullptr) return create_reference_vision(std::move(tower));
  return cpu::create_cpu_vision(*kernels, options, std::move(tower));
}

Result<uint64_t> vision_encoder_bytes(const BackendOptions& options, const VisionTower& tower) {
  if (runs_on_device(options, tower)) return cuda::cuda_vision_bytes(options, tower);
  CARAT_TRY(const cpu::Kernels* kernels, find_vision_kernels(options));
  return kernels == nullptr ? tower.bytes : cpu::cpu_vision_bytes(options, tower);
}

Result<MemoryNeed> memory_need(const BackendOptions& options, const ModelConfig& config, const Weights& weights,
                               int32_t max_rows) {
  if (options.head_type) {
    CARAT_TRY(const Weights with, with_head_type(config, weights, *options.head_type));
    BackendOptions rest = options;
    rest.head_type.reset();
    return memory_need(rest, config, with, max_rows);
  }
  if (means_device(options)) return cuda::cuda_memory_need(config, weights, max_rows);
  CARAT_TRY(const cpu::Kernels* kernels, find_kernels(options));
  if (kernels == nullptr) return reference_memory_need(config, weights, max_rows);
  return cpu::cpu_memory_need(*kernels, options, config, weights, max_rows);
}

}  // namespace carat
