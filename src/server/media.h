// The bytes of a picture that a request names instead of bringing: from another server if its name is allowed, from a
// folder of this machine if that is. Neither is allowed unless the flags of `carat serve` say so.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace carat::server {

struct MediaOptions {
  std::vector<std::string> domains;  // names of hosts, exactly as they stand in a URL
  std::string local_path;            // file:// URLs below it; empty: none
  size_t most_bytes = 64 << 20;
  std::chrono::milliseconds timeout{10'000};  // for all of it
  bool any_address = false;                   // tests: also what is not on the public internet
};

// http, https and file URLs. No redirect is followed, no proxy is used, and a connection is made to addresses of the
// public internet only, whatever the name resolves to: the address is checked where the socket is made.
// Errors: kInvalidArgument, in words that say nothing of what lies behind.
Result<std::vector<uint8_t>> fetch_media(const MediaOptions& options, const std::string& url);

// Whether an address, as inet_ntop writes it, is one of the public internet.
bool is_public_address(const std::string& address);

}  // namespace carat::server
