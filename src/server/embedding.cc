#include "server/embedding.h"

#include <fmt/format.h>

#include <bit>
#include <chrono>
#include <cmath>

#include "server/prompts.h"

namespace carat::server {
namespace {

// Cut, then scaled to length one; all zeros stay so.
std::vector<float> normalised(std::vector<float> values, size_t dimensions) {
  values.resize(dimensions);
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
  for (float& value : values) value = static_cast<float>(value * scale);
  return values;
}

// Gathers what the prompts of one request give.
class Gathering : public std::enable_shared_from_this<Gathering> {
 public:
  Gathering(size_t count, size_t dimensions, std::function<void(Result<Embeddings>)> done)
      : dimensions_(dimensions), hidden_(count), left_(count), done_(std::move(done)) {}

  RowObserver observer(size_t index) {
    return [self = shared_from_this(), index](int32_t, std::span<const float> values) {
      self->hidden_[index].assign(values.begin(), values.end());
    };
  }

  void ended(const GenerationEnd& end) {
    prompt_tokens_ += end.usage.prompt_tokens;
    if (end.finish == FinishReason::kCancelled) fail({ErrorCode::kCancelled, "request canceled"});
    if (end.error) fail(*end.error);
    if (--left_ != 0 || !done_) return;
    Embeddings all;
    for (std::vector<float>& values : hidden_) all.vectors.push_back(normalised(std::move(values), dimensions_));
    all.prompt_tokens = prompt_tokens_;
    all.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    std::exchange(done_, nullptr)(std::move(all));
  }

  void fail(const Error& error) {
    if (const auto done = std::exchange(done_, nullptr)) done(error);
  }

 private:
  const size_t dimensions_;
  std::vector<std::vector<float>> hidden_;
  size_t left_;
  std::function<void(Result<Embeddings>)> done_;
  int64_t prompt_tokens_ = 0;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

class Sink final : public GenerationSink {
 public:
  explicit Sink(std::shared_ptr<Gathering> all) : all_(std::move(all)) {}
  void on_text(std::string_view, std::span<const TokenInfo>, bool) override {}
  void on_end(const GenerationEnd& end) override { all_->ended(end); }

 private:
  const std::shared_ptr<Gathering> all_;
};

}  // namespace

void embed(const Lease& model, const ExchangePtr& exchange, std::vector<std::vector<int32_t>> prompts,
           int32_t dimensions, std::function<void(Result<Embeddings>)> done) {
  const int32_t width = model->config().width;
  if (dimensions < 0 || dimensions > width) {
    return done(
        Error{ErrorCode::kInvalidArgument, fmt::format("dimensions is {}, and the model has {}", dimensions, width)});
  }
  const auto all = std::make_shared<Gathering>(prompts.size(), static_cast<size_t>(dimensions > 0 ? dimensions : width),
                                               std::move(done));
  std::vector<WorkId> started;
  for (size_t i = 0; i < prompts.size(); ++i) {
    GenerationRequest generation;
    generation.request.prompt = std::move(prompts[i]);
    generation.request.sampling.max_tokens = 0;
    generation.request.hidden_from = static_cast<int32_t>(generation.request.prompt.size()) - 1;
    generation.request.on_hidden = all->observer(i);
    generation.client = exchange->request().account;
    generation.request.cache_salt = cache_salt(exchange->request());
    const auto id = model->generations->start(std::move(generation), std::make_shared<Sink>(all), model);
    if (!id) {
      for (const WorkId other : started) model->generations->cancel(other);
      return all->fail({ErrorCode::kOutOfMemory, "server busy, please try again.  maximum pending requests exceeded"});
    }
    started.push_back(*id);
  }
  exchange->on_gone([model, started] {
    for (const WorkId id : started) model->generations->cancel(id);
  });
}

std::string base64_floats(const std::vector<float>& values) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  for (const float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(bits >> shift & 255);
  }
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t at) { return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0U; };
    const uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (int part = 0; part < 4; ++part) {
      out += i + static_cast<size_t>(part) > bytes.size() ? '=' : kDigits[group >> (18 - 6 * part) & 63];
    }
  }
  return out;
}

}  // namespace carat::server
