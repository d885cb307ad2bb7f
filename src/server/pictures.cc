#include "server/pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "server/app.h"
#include "server/media.h"

namespace carat::server {
namespace {

constexpr size_t kMostPictures = 64;  // of a request

Result<SeenPictures> encode(const Lease& model, const Pictures& pictures, const std::atomic<bool>& gone) {
  SeenPictures seen;
  for (const PictureSource& source : pictures.sources) {
    CARAT_TRY(chat::PromptPicture picture,
              model->pictures->encode_bytes(source.bytes, pictures.pan_and_scan, [&] { return gone.load(); }));
    seen.push_back(std::move(picture));
  }
  return seen;
}

Status fetch_all(App& app, Pictures& pictures) {
  for (PictureSource& source : pictures.sources) {
    if (source.url.empty()) continue;
    CARAT_TRY(source.bytes, fetch_media(app.options().media, source.url));
  }
  return {};
}

}  // namespace

void look(App& app, const ExchangePtr& exchange, const Lease& model, Pictures pictures,
          std::function<void(Result<SeenPictures>)> ready) {
  if (pictures.empty()) return ready(SeenPictures());
  if (!model->pictures) return ready(model->refuses_pictures);
  if (pictures.sources.size() > kMostPictures) {
    return ready(Error{ErrorCode::kInvalidArgument, fmt::format("a request has {} pictures, at most {} are taken",
                                                                pictures.sources.size(), kMostPictures)});
  }
  struct Work {
    Work(App& its_app, Lease its_model, Pictures its_pictures, std::function<void(Result<SeenPictures>)> its_ready)
        : app(its_app), model(std::move(its_model)), pictures(std::move(its_pictures)), ready(std::move(its_ready)) {}
    App& app;
    Lease model;
    Pictures pictures;
    std::function<void(Result<SeenPictures>)> ready;
    std::atomic<bool> gone{false};
    void answer(Result<SeenPictures> result) {
      app.workers().post([ready = std::move(ready), result = std::make_shared<Result<SeenPictures>>(
                                                        std::move(result))] { ready(std::move(*result)); });
    }
  };
  pictures.pan_and_scan |= app.models().options().pan_and_scan;
  auto work = std::make_shared<Work>(app, model, std::move(pictures), std::move(ready));
  exchange->on_gone([work] { work->gone = true; });
  const auto encode_them = [work] { work->answer(encode(work->model, work->pictures, work->gone)); };
  const bool fetches = std::any_of(work->pictures.sources.begin(), work->pictures.sources.end(),
                                   [](const PictureSource& source) { return !source.url.empty(); });
  if (!fetches) return app.models().eyes().post(encode_them);
  app.slow_workers().post([work, encode_them] {
    if (const Status fetched = fetch_all(work->app, work->pictures); !fetched.ok()) {
      return work->answer(fetched.error());
    }
    work->app.models().eyes().post(encode_them);
  });
}

size_t picture_parts(const std::vector<ChatMessage>& messages) {
  size_t count = 0;
  for (const ChatMessage& message : messages) {
    for (const ChatPart& part : message.parts) count += part.kind == ChatPart::Kind::kImage ? 1 : 0;
  }
  return count;
}

void describe_pictures(std::vector<ChatMessage>& messages, const SeenPictures& seen) {
  size_t next = seen.size() - std::min(seen.size(), picture_parts(messages));
  for (ChatMessage& message : messages) {
    for (ChatPart& part : message.parts) {
      if (part.kind == ChatPart::Kind::kImage && next < seen.size()) part.text = seen[next++].text;
    }
  }
}

void expand_pictures(const ServedModel& model, const SeenPictures& seen, std::vector<int32_t>& ids) {
  if (!seen.empty()) chat::expand_images(model.pictures->config(), ids);
}

Result<std::vector<ImageSpan>> place_pictures(const ServedModel& model, size_t parts, const SeenPictures& seen,
                                              std::vector<int32_t>& ids) {
  if (seen.empty()) return std::vector<ImageSpan>();
  std::vector<chat::EncodedImage> images;
  for (size_t i = seen.size() - std::min(seen.size(), parts); i < seen.size(); ++i) {
    images.insert(images.end(), seen[i].images.begin(), seen[i].images.end());
  }
  Request request;
  request.prompt = std::move(ids);
  const Status placed = chat::place_images(model.pictures->config(), images, request);
  ids = std::move(request.prompt);
  CARAT_CHECK(placed);
  return std::move(request.images);
}

SeenPictures unseen_pictures(const ServedModel& model, size_t count) {
  if (!model.pictures) return {};
  return {count, {chat::picture_text(1), {}}};
}

}  // namespace carat::server
