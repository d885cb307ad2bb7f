// The window: pieces that are being fetched, in order. The first is written as it arrives; those behind it wait in
// memory until it is whole. What fails is asked for again from where it stopped. A piece's buffer goes to the thread that
// hashes when all of it is written, and comes back for another piece.
#include "store/pull/download.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <charconv>
#include <deque>
#include <memory>
#include <vector>

#include "base/atomic_file.h"
#include "base/printable.h"
#include "store/model_name.h"

namespace carat {
namespace {

constexpr uint64_t kProgressBytes = 64 << 10;  // so much in one attempt, and the next failure is the first again

Error cancelled() {
  return Error{ErrorCode::kCancelled, "cancelled; what was fetched is kept, and the same command goes on with it"};
}

// "bytes 100-199/1000"; the total may be '*'.
struct ContentRange {
  uint64_t first = 0, last = 0;
  std::optional<uint64_t> total;
};
std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (text.substr(0, kUnit.size()) != kUnit) return std::nullopt;
  text.remove_prefix(kUnit.size());
  ContentRange range;
  const auto number = [&text](uint64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return true;
  };
  const auto sign = [&text](char c) {
    if (text.empty() || text[0] != c) return false;
    text.remove_prefix(1);
    return true;
  };
  if (!number(range.first) || !sign('-') || !number(range.last) || !sign('/')) return std::nullopt;
  if (text == "*") return range;
  uint64_t total = 0;
  if (!number(total) || !text.empty()) return std::nullopt;
  range.total = total;
  return range;
}

struct Piece {
  uint64_t begin = 0, end = 0;    // in the blob
  uint64_t received = 0;          // bytes from `begin` on
  uint64_t received_before = 0;   // of earlier attempts
  uint64_t skip = 0;              // of a whole answer: bytes that are there already
  std::vector<std::byte> buffer;  // what was received and is not hashed yet
  size_t written = 0;             // of the buffer
  std::unique_ptr<HttpTransfer> transfer;

  bool is_whole() const { return received == end - begin; }
};

class Download {
 public:
  Download(const Blobs& blobs, HttpClient& http, DownloadSource source, const Digest& digest, uint64_t size_bytes,
           PullObserver& observer, const DownloadLimits& limits)
      : blobs_(blobs),
        http_(http),
        source_(std::move(source)),
        digest_(digest),
        size_bytes_(size_bytes),
        observer_(observer),
        limits_(limits) {}

  Result<StoredBlob> run();

 private:
  Result<StoredBlob> present() const;
  Result<StoredBlob> fetch(BlobWriter writer);
  Status fill();
  void start(Piece& piece);
  Status check_head(Piece& piece, const HttpHead& head);
  Status check_whole(Piece& piece, const HttpHead& head);
  Status check_range(const Piece& piece, const HttpHead& head);
  Status take(Piece& piece, std::span<const std::byte> bytes);
  Status flush();
  Status write(Piece& first);
  Status after_failure(Piece& piece);
  Error wrong(std::string_view why) const;
  void tell(uint64_t done_bytes) const { observer_.on_progress(digest_.text(), done_bytes, size_bytes_); }
  std::function<bool()> stop() const {
    return [this] { return observer_.cancelled(); };
  }

  const Blobs& blobs_;
  HttpClient& http_;
  DownloadSource source_;
  Digest digest_;
  uint64_t size_bytes_;
  PullObserver& observer_;
  DownloadLimits limits_;

  BlobWriter* writer_ = nullptr;  // while it fetches
  std::deque<Piece> window_;
  uint64_t next_ = 0;        // where the next piece begins
  std::string direct_url_;   // where redirects led to; empty: not known yet
  bool whole_only_ = false;  // the server knows no ranges, or lies about them
  bool renewed_ = false;     // the authorization, once
  int failures_ = 0;         // in a row
};

Error Download::wrong(std::string_view why) const {
  return Error{ErrorCode::kCorruptFile,
               fmt::format("{}: {} {}", escaped(origin_of(source_.url)), digest_.text().substr(0, 19), why)};
}

// Whatever was under this name before is read again: a pull is what mends a damaged store.
Result<StoredBlob> Download::present() const {
  CARAT_TRY(FileLock hold, blobs_.hold(digest_, size_bytes_));
  bool stopped = false;
  const Status verified = blobs_.verify(digest_, size_bytes_, [&](uint64_t done_bytes) {
    tell(done_bytes);
    stopped = observer_.cancelled();
    return !stopped;
  });
  if (stopped) return cancelled();
  if (!verified.ok()) return verified.error();
  return StoredBlob{{digest_, size_bytes_}, std::move(hold)};
}

Result<StoredBlob> Download::run() {
  CARAT_CHECK(make_folders(blobs_.folder()));
  bool waited = false;
  for (bool again = false;;) {
    auto there = present();
    if (there.ok() || there.error().code == ErrorCode::kCancelled) return there;
    CARAT_TRY(auto writer, blobs_.try_resume(digest_));
    if (writer) {
      const bool goes_on = writer->left_over_bytes() > 0;
      auto fetched = fetch(std::move(*writer));
      // What an earlier pull left may be damaged; it is gone now, so once more from the beginning.
      const bool is_wrong = !fetched.ok() && fetched.error().code == ErrorCode::kCorruptFile;
      if (!is_wrong || !goes_on || again) return fetched;
      again = true;
      continue;
    }
    if (!waited) observer_.on_status("waiting for another carat that is pulling the same model");
    waited = true;
    if (observer_.cancelled()) return cancelled();
    ::poll(nullptr, 0, 100);
  }
}

Result<StoredBlob> Download::fetch(BlobWriter writer) {
  const uint64_t keep_bytes = writer.left_over_bytes() <= size_bytes_ ? writer.left_over_bytes() : 0;
  CARAT_CHECK(writer.keep(keep_bytes));
  if (keep_bytes > 0) observer_.on_status(fmt::format("resuming at {} of {} bytes", keep_bytes, size_bytes_));
  writer_ = &writer;
  const Status filled = fill();
  window_.clear();
  if (filled.ok()) return writer.commit();
  if (filled.error().code == ErrorCode::kCorruptFile) writer.discard();
  return filled.error();
}

void Download::start(Piece& piece) {
  piece.received_before = piece.received;
  if (piece.buffer.capacity() == 0) piece.buffer = writer_->spare_buffer();
  // Growing by doubling would take twice the window.
  piece.buffer.reserve(std::min(limits_.piece_bytes, piece.end - piece.begin));
  HttpRequest request;
  request.url = direct_url_.empty() ? source_.url : direct_url_;
  if (direct_url_.empty() || origin_of(direct_url_) == origin_of(source_.url))
    request.authorization = source_.authorization;
  if (!whole_only_) {
    request.headers.push_back(fmt::format("Range: bytes={}-{}", piece.begin + piece.received, piece.end - 1));
  }
  piece.transfer = http_.start(
      std::move(request), [this, &piece](const HttpHead& head) { return check_head(piece, head); },
      [this, &piece](std::span<const std::byte> bytes) { return take(piece, bytes); });
}

// Only an answer that is exactly what was asked for lets its body in.
Status Download::check_head(Piece& piece, const HttpHead& head) {
  if (head.status != 200 && head.status != 206) return Error{ErrorCode::kNetwork, "status"};  // see after_failure
  Status status = head.status == 206 ? check_range(piece, head) : check_whole(piece, head);
  if (status.ok() && direct_url_.empty()) direct_url_ = head.url;
  return status;
}

Status Download::check_range(const Piece& piece, const HttpHead& head) {
  const std::string* text = head.find("content-range");
  const auto range = text == nullptr ? std::nullopt : parse_content_range(*text);
  const uint64_t first = piece.begin + piece.received;
  if (range && range->total && *range->total != size_bytes_) {
    return wrong(fmt::format("has {} bytes there, and should have {}", *range->total, size_bytes_));
  }
  if (whole_only_ || !range || range->first != first || range->last < first || range->last >= piece.end) {
    whole_only_ = true;
    return Error{ErrorCode::kNetwork, "range"};
  }
  return {};
}

// The server sends all of it. Of several pieces in flight only the first can go on with that.
Status Download::check_whole(Piece& piece, const HttpHead& head) {
  if (const auto length = head.number("content-length"); length && *length != size_bytes_) {
    return wrong(fmt::format("has {} bytes there, and should have {}", *length, size_bytes_));
  }
  whole_only_ = true;
  if (&piece != &window_.front()) return Error{ErrorCode::kNetwork, "range"};
  piece.skip = piece.begin + piece.received;
  piece.end = size_bytes_;
  return {};
}

Status Download::take(Piece& piece, std::span<const std::byte> bytes) {
  const uint64_t skipped = std::min<uint64_t>(piece.skip, bytes.size());
  piece.skip -= skipped;
  bytes = bytes.subspan(skipped);
  if (bytes.size() > piece.end - piece.begin - piece.received) {
    if (piece.end == size_bytes_)
      return wrong(fmt::format("is longer than the {} bytes that it should have", size_bytes_));
    whole_only_ = true;
    return Error{ErrorCode::kNetwork, "range"};
  }
  piece.buffer.insert(piece.buffer.end(), bytes.begin(), bytes.end());
  piece.received += bytes.size();
  // Of an answer without ranges any amount may arrive at once.
  if (piece.buffer.size() >= limits_.piece_bytes && &piece == &window_.front()) return write(piece);
  return {};
}

// What the first piece has, into the file; and what is complete, to be hashed.
Status Download::write(Piece& first) {
  CARAT_CHECK(writer_->write_ahead(std::span(first.buffer).subspan(first.written)));
  first.written = first.buffer.size();
  if (first.is_whole() || first.buffer.size() >= limits_.piece_bytes) {
    writer_->hash_later(std::move(first.buffer));
    first.buffer = first.is_whole() ? std::vector<std::byte>() : writer_->spare_buffer();
    first.written = 0;
  }
  return {};
}

Status Download::flush() {
  while (!window_.empty()) {
    CARAT_CHECK(write(window_.front()));
    if (!window_.front().is_whole()) return {};
    window_.pop_front();
  }
  return {};
}

// A transfer ended before its piece was whole: wait, and ask again; or say what is wrong for good.
Status Download::after_failure(Piece& piece) {
  const HttpHead head = piece.transfer->head();
  Status status = piece.transfer->status();
  const std::string host = escaped(origin_of(head.url.empty() ? source_.url : head.url));
  const bool is_policy = piece.transfer->is_hopeless();
  piece.transfer.reset();
  if (piece.received - piece.received_before >= kProgressBytes) failures_ = 0;
  ++failures_;

  std::string why = status.ok() ? host + ": it ended early" : status.error().message;
  if (!status.ok() && status.error().code != ErrorCode::kNetwork) return status;
  const bool is_direct = !direct_url_.empty() && origin_of(direct_url_) != origin_of(source_.url);
  switch (head.status) {
    case 0:
    case 200:
    case 206:
      if (is_policy && why == "range") {
        why = host + ": its answers are not the ranges that were asked for";
        break;
      }
      if (is_policy) return status;
      break;
    case 401:
      if (!is_direct && !renewed_ && source_.renew) {
        renewed_ = true;
        CARAT_TRY(source_.authorization, source_.renew(head));
        return {};
      }
      [[fallthrough]];
    case 403:
      if (!is_direct) return Error{ErrorCode::kNetwork, fmt::format("{}: it refuses ({})", host, head.status)};
      why = fmt::format("{}: it refuses ({})", host, head.status);  // a signed address lives for a while only
      break;
    case 404:
    case 410:
      if (!is_direct) {
        return Error{ErrorCode::kNotFound, fmt::format("{}: {} is not there", host, digest_.text().substr(0, 19))};
      }
      why = fmt::format("{}: {} is not there", host, digest_.text().substr(0, 19));
      break;
    case 416:
      return wrong("is shorter there than what was fetched already");
    default:
      if (!is_busy(head.status) && (head.status < 300 || head.status >= 400)) {
        return Error{ErrorCode::kNetwork, fmt::format("{}: it answers with status {}", host, head.status)};
      }
      if (is_policy && (head.status >= 300 && head.status < 400)) return status;
      why = fmt::format("{}: it answers with status {}", host, head.status);
  }
  direct_url_.clear();
  if (failures_ >= http_.settings().attempts) {
    return Error{ErrorCode::kNetwork, fmt::format("{} ({} times in a row); what was fetched is kept", why, failures_)};
  }
  if (failures_ > 1 || is_busy(head.status)) CARAT_CHECK(http_.wait(failures_, &head, stop()));
  return {};
}

Status Download::fill() {
  next_ = writer_->written_bytes();
  while (writer_->written_bytes() < size_bytes_) {
    if (observer_.cancelled()) return cancelled();
    if (whole_only_ && (window_.size() > 1 || (!window_.empty() && window_.front().end != size_bytes_))) {
      window_.resize(1);
      next_ = window_.front().end = size_bytes_;
    }
    // The first piece goes alone, until its head says where the blob really lies and whether ranges work.
    const int connections = whole_only_ || direct_url_.empty() ? 1 : limits_.connections;
    while (static_cast<int>(window_.size()) < connections && next_ < size_bytes_) {
      Piece piece;
      piece.begin = next_;
      piece.end = whole_only_ ? size_bytes_ : std::min(size_bytes_, next_ + limits_.piece_bytes);
      next_ = piece.end;
      window_.push_back(std::move(piece));
    }
    for (Piece& piece : window_) {
      const bool may_start = &piece == &window_.front() || !direct_url_.empty();
      if (!piece.transfer && !piece.is_whole() && may_start) start(piece);
    }
    http_.run(100);
    for (size_t i = 0; i < window_.size(); ++i) {
      Piece& piece = window_[i];
      if (!piece.transfer || !piece.transfer->is_done()) continue;
      if (piece.is_whole() && piece.transfer->status().ok()) {
        piece.transfer.reset();
      } else {
        CARAT_CHECK(after_failure(piece));
      }
    }
    CARAT_CHECK(flush());
    tell(writer_->written_bytes());
  }
  return {};
}

}  // namespace

Result<StoredBlob> download_blob(const Blobs& blobs, HttpClient& http, DownloadSource source, const Digest& digest,
                                 uint64_t size_bytes, PullObserver& observer, const DownloadLimits& limits) {
  return Download(blobs, http, std::move(source), digest, size_bytes, observer, limits).run();
}

}  // namespace carat
