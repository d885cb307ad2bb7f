// A carat server that runs on this machine (or where OLLAMA_HOST says), seen from the command line.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace carat::cli {

struct RunningModel {
  std::string name, digest, processor;
  uint64_t size_bytes = 0;
  int32_t context = 0;
  std::string until;  // in words
};

// An entry of its store.
struct StoredThere {
  std::string name, digest;  // of the manifest, 64 hexadecimal digits
  uint64_t size_bytes = 0;
  std::chrono::system_clock::time_point modified;
};

class Remote {
 public:
  // None if no carat answers there within a moment; another program on that port is none.
  static std::optional<Remote> find();

  const std::string& url() const { return url_; }
  Result<std::string> get(const std::string& path) const;  // the body; errors: what the server says
  Result<std::string> post(const std::string& path, const std::string& json) const;
  // Gives `take` what comes, piece by piece. False: `stop`, asked again and again, said so before the end. Errors: what
  // the server says instead of an answer; those of `take`.
  Result<bool> stream(const std::string& path, const std::string& json,
                      const std::function<Status(std::string_view bytes)>& take,
                      const std::function<bool()>& stop) const;
  Result<std::vector<RunningModel>> running() const;
  Result<std::vector<StoredThere>> models() const;  // newest first
  Status stop(const std::string& model) const;

 private:
  std::string url_, key_;
};

}  // namespace carat::cli
