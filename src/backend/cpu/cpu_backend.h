// The CPU backend: which instruction sets there are, and the Backend made of one of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"

namespace carat::cpu {

// The kernels that this machine can run, best first.
std::vector<const Kernels*> available_kernels();
// The names of those that are compiled in but that this machine lacks.
std::vector<std::string> missing_kernels();

Result<std::unique_ptr<Backend>> create_cpu_backend(const Kernels& kernels, const BackendOptions& options,
                                                    const ModelConfig& config, const Weights& weights);

Result<MemoryNeed> cpu_memory_need(const Kernels& kernels, const BackendOptions& options, const ModelConfig& config,
                                   const Weights& weights, int32_t max_rows);

}  // namespace carat::cpu
