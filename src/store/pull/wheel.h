// A wheel is a zip file: what is needed is read straight out of it, without unpacking the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace carat {

class Wheel {
 public:
  // Errors: kCorruptFile (not a whole zip file), kNotFound, kIo.
  static Result<Wheel> open(const std::filesystem::path& path);

  // Streams one file of it; its CRC is checked at the end. Errors: kCorruptFile (missing, another size, damaged), and
  // whatever the sink returns.
  Status read(const std::string& member, uint64_t expected_bytes,
              const std::function<Status(std::span<const std::byte>)>& sink) const;
  Result<std::string> read_text(const std::string& member, uint64_t limit_bytes) const;

 private:
  struct Close {
    void operator()(void* archive) const;
  };
  std::unique_ptr<void, Close> archive_;
  std::filesystem::path path_;
};

}  // namespace carat
