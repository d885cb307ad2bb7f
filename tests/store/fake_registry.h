// The scripted registry of pull/fake_registry.py, started for one test and ended with it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "store/digest.h"

namespace carat::test {

class FakeRegistry {
 public:
  explicit FakeRegistry(const std::filesystem::path& folder);
  ~FakeRegistry();
  FakeRegistry(const FakeRegistry&) = delete;
  FakeRegistry& operator=(const FakeRegistry&) = delete;

  int port() const { return port_; }
  std::string url() const;                           // "http://127.0.0.1:port"
  std::string name(const std::string& model) const;  // "127.0.0.1:port/library/<model>"
  const std::filesystem::path& folder() const { return folder_; }

  // A blob; and a model made of one blob of weights, with Gemma's template, parameters, a license and a config.
  Digest add_blob(const std::string& content) const;
  Digest add_model(const std::string& name_and_tag, const std::string& weights,
                   const std::string& family = "gemma3") const;
  void add_hub_file(const std::string& repository, const std::string& name, const std::string& content) const;

  void script(const std::string& rules_json) const;  // see the program
  void behave() const { script("[]"); }
  std::vector<std::string> log() const;            // a JSON line for each request
  size_t requests(const std::string& part) const;  // that hold this text
  void forget_log() const;

 private:
  std::filesystem::path folder_;
  int port_ = 0;
  int pid_ = -1;
  int input_ = -1;  // its end is the program's
};

std::string random_bytes(size_t count, unsigned seed = 20261125);

}  // namespace carat::test
