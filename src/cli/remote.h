// A carat server that runs on this machine (or where OLLAMA_HOST says), seen from the command line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace carat::cli {

struct RunningModel {
  std::string name, digest, processor;
  uint64_t size_bytes = 0;
  int32_t context = 0;
  std::string until;  // in words
};

class Remote {
 public:
  // None if no carat answers there within a moment; another program on that port is none.
  static std::optional<Remote> find();

  const std::string& url() const { return url_; }
  Result<std::string> get(const std::string& path) const;  // the body; errors: what the server says
  Result<std::string> post(const std::string& path, const std::string& json) const;
  Result<std::vector<RunningModel>> running() const;
  Status stop(const std::string& model) const;

 private:
  std::string url_, key_;
};

}  // namespace carat::cli
