// What `carat doctor` knows of a machine, apart from the program so that tests can hand it a recorded one: what is there,
// what fits, what is wrong and what to do about it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/machine.h"

namespace carat::cli {

struct Complaint {
  std::string what, remedy;
};

// A published model, 4-bit weights as Google's QAT files have them.
struct Fit {
  std::string name;
  uint64_t weight_bytes = 0;
  int32_t context = 0;           // the largest that there is room for; 0: none
  double tokens_per_second = 0;  // that the bandwidth allows in decode; 0: not measured
};

struct Diagnosis {
  Machine machine;
  uint64_t usable_bytes = 0;             // memory that a model could take now
  int cores = 0;                         // that Carat would use
  std::optional<uint64_t> cgroup_bytes;  // limits of a container
  std::optional<double> cgroup_cpus;
  std::string backend;               // that would run; empty: of another machine
  std::vector<std::string> lacking;  // kernels that are built in and whose instructions the machine lacks
  std::string gpu;                   // the device that `--backend cuda` would use, or why there is none
  double bandwidth = 0;              // bytes a second; 0: not measured
  std::filesystem::path store;
  std::optional<uint64_t> disk_free_bytes;  // where the store is
  std::vector<Fit> fits;
  std::vector<Complaint> complaints;
};

// Of the tree under `root`. What is known of the running machine only (backend, GPU, bandwidth, disk) is left out.
Diagnosis diagnose(const std::filesystem::path& root);

// Once everything else is filled in: what fits, and what is wrong.
void conclude(Diagnosis& diagnosis);

std::string diagnosis_text(const Diagnosis& diagnosis);
nlohmann::ordered_json diagnosis_json(const Diagnosis& diagnosis);

}  // namespace carat::cli
