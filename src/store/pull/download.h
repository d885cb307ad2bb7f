// One blob from a server into the store, whichever protocol named it: pieces of it over several connections, put
// together in order in memory (so the partial file is always a prefix, and resuming needs no record beside it), hashed
// while they are written, and given the blob's name only when every byte is right. Two processes that want the same blob
// share the work: one fetches, the other waits.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "store/blobs.h"
#include "store/pull/http.h"
#include "store/pull/observer.h"

namespace carat {

struct DownloadSource {
  std::string url;
  std::string authorization;  // for that url's own server only; renewed when it is refused
  // A new authorization after a 401; none if there is no other. May be empty.
  std::function<Result<std::string>(const HttpHead&)> renew;
};

struct DownloadLimits {
  uint64_t piece_bytes = 6 << 20;  // of memory for each connection, and three more
  int connections = 6;
};

// The blob, already there (verified) or fetched. Errors: kNotFound (404), kNetwork, kIo, kCorruptFile (what the server
// has is not what its digest or length says), kCancelled (what was fetched is kept).
// The observer hears of it as "sha256:<hex>".
Result<StoredBlob> download_blob(const Blobs& blobs, HttpClient& http, DownloadSource source, const Digest& digest,
                                 uint64_t size_bytes, PullObserver& observer, const DownloadLimits& limits = {});

}  // namespace carat
