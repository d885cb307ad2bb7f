// The engine's prefix cache keeps what the turns before computed. Its context doubles when a conversation outgrows it,
// up to num_ctx or the model's own: only then is everything computed anew.
#include "chat/chat_session.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/memory.h"
#include "chat/grammars.h"
#include "store/store.h"

namespace carat::chat {
namespace {

constexpr int64_t kUsualContext = 32768;

void add(Usage& sum, const Usage& usage) {
  sum.prompt_tokens += usage.prompt_tokens;
  sum.reused_tokens += usage.reused_tokens;
  sum.generated_tokens += usage.generated_tokens;
  sum.prompt_seconds += usage.prompt_seconds;
  sum.generate_seconds += usage.generate_seconds;
}

void set(GivenOptions& parameters, const std::string& name, const std::vector<std::string>& values) {
  const auto known =
      std::find_if(parameters.begin(), parameters.end(), [&](const auto& entry) { return entry.first == name; });
  if (known != parameters.end()) {
    known->second = values;
  } else {
    parameters.emplace_back(name, values);
  }
}

}  // namespace

ChatSession::ChatSession(LoadedModel loaded, Tokenizer tokenizer, PromptFormat format, std::string name)
    : name_(std::move(name)),
      loaded_(std::move(loaded)),
      tokenizer_(std::move(tokenizer)),
      format_(std::move(format)),
      conversation_(tokenizer_, format_, loaded_.config().bos_id) {}

Result<std::unique_ptr<ChatSession>> ChatSession::open(OpenModel model, std::string name, const ChatOptions& asked,
                                                       const Cancelled& cancelled) {
  CARAT_TRY(GenerationOptions options, generation_of(model, asked.generation));
  CARAT_TRY(PromptFormat format, PromptFormat::of(model, asked.raw, asked.prompt_template));
  LoadedModel loaded = LoadedModel::later(std::move(model), asked.loading);
  CARAT_TRY(Tokenizer tokenizer, load_tokenizer(loaded.model().file));
  std::unique_ptr<ChatSession> session(
      new ChatSession(std::move(loaded), std::move(tokenizer), std::move(format), std::move(name)));
  session->options_ = std::move(options);
  session->backend_options_ = asked.loading.backend;
  session->mmproj_ = asked.mmproj;
  session->pan_and_scan_ = asked.pan_and_scan;
  session->elsewhere_ = asked.elsewhere;
  for (const auto& [parameter, values] : asked.generation) set(session->parameters_, parameter, values);
  const ResolvedModel& resolved = session->model().resolved;
  if (asked.system || !asked.raw) CARAT_CHECK(session->set_system(asked.system.value_or(resolved.system)));
  CARAT_CHECK(session->conversation_.restore(resolved.messages));
  CARAT_CHECK(session->warm_up(cancelled));
  return session;
}

// Computes what every answer begins with (<bos>, or the saved conversation), so that the first one does not wait for
// it, nor for threads to start and pages to come in.
Status ChatSession::warm_up(const Cancelled& cancelled) {
  CARAT_TRY(AnswerRequest asked, next_request());
  if (asked.request.prompt.empty()) asked.request.prompt.push_back(loaded_.config().bos_id);
  if (static_cast<int64_t>(asked.request.prompt.size()) >= context_limit()) return {};
  asked.request.sampling.max_tokens = 1;
  CARAT_TRY([[maybe_unused]] const int64_t positions, reserve(1));
  if (elsewhere_) return {};
  CARAT_TRY(const Answer made, answer(std::move(asked), 1, cancelled, [](std::string_view) {}));
  return {};
}

Result<AnswerRequest> ChatSession::next_request() const {
  AnswerRequest asked;
  asked.request.prompt = conversation_.prompt();
  if (pictures_) CARAT_CHECK(place_images(pictures_->config(), conversation_.images(), asked.request));
  return asked;
}

Status ChatSession::open_eyes() {
  if (!pictures_) {
    CARAT_TRY(pictures_, PictureEncoder::of(model(), backend_options_, mmproj_));
    pictures_->take_ids_of(tokenizer_);
    conversation_.sees(pictures_->config());
  }
  CARAT_TRY(const uint64_t bytes, pictures_->needed_bytes());
  return loaded_.room_for(bytes, "the vision tower");
}

Result<std::vector<PromptPicture>> ChatSession::look_at(const std::vector<std::string>& paths,
                                                        const Cancelled& cancelled) {
  CARAT_CHECK(open_eyes());
  std::vector<PromptPicture> seen;
  for (const std::string& path : paths) {
    auto picture = pictures_->encode_file(path, pan_and_scan_, cancelled);
    if (!picture.ok()) {
      pictures_->unload_after({});
      return picture.error();
    }
    seen.push_back(std::move(*picture));
  }
  pictures_->unload_after({});
  return seen;
}

Status ChatSession::set_parameter(const std::string& name, const std::vector<std::string>& values) {
  GenerationOptions changed = options_;
  CARAT_CHECK(set_generation_option(changed, name, values));
  CARAT_CHECK(validate(changed.sampling, loaded_.config().vocabulary));
  options_ = std::move(changed);
  set(parameters_, name, values);
  return {};
}

Result<ChatSession::Reply> ChatSession::ask(const std::string& question, const Cancelled& cancelled, const Sink& sink,
                                            const Sink& notice, std::vector<PromptPicture> pictures) {
  CARAT_CHECK(conversation_.ask(question, std::move(pictures)));
  std::string text;
  const Cancelled ended = [&] { return (cancelled && cancelled()) || !model().file.whole().ok(); };
  auto reply = with_memory([&] { return stream(ended, sink, notice, text); });
  if (reply.ok()) {
    const Status whole = model().file.whole();
    if (!whole.ok()) reply = whole.error();
  } else if (reply.error().code == ErrorCode::kOutOfMemory) {
    loaded_.drop_engine();  // what it was in the middle of, nobody knows
  }
  if (!reply.ok() || (reply->cancelled && text.empty())) {
    conversation_.abandon();
  } else {
    conversation_.close(std::move(text));
  }
  return reply;
}

// More than one request only where the context fills up in the middle of the answer.
Result<ChatSession::Reply> ChatSession::stream(const Cancelled& cancelled, const Sink& sink, const Sink& notice,
                                               std::string& text) {
  Reply reply;
  CARAT_TRY(const std::shared_ptr<Constraint> constraint, begin_answer());
  while (true) {
    const int32_t wanted = options_.sampling.max_tokens;
    const int64_t left = wanted < 0 ? context_limit() : wanted - reply.usage.generated_tokens;
    const Status room = make_room(left, notice);
    if (!room.ok()) {
      if (text.empty()) return room.error();
      notice(fmt::format("the context of {} tokens is full: the answer ends here", context_limit()));
      return reply;
    }
    CARAT_TRY(const int64_t positions, reserve(left));
    CARAT_TRY(AnswerRequest asked, next_request());
    asked.request.sampling = options_.sampling;
    asked.request.constraint = constraint;
    const int64_t limit = std::min(context_limit(), positions);
    asked.request.sampling.max_tokens =
        static_cast<int32_t>(std::min(left, limit - static_cast<int64_t>(asked.request.prompt.size())));
    asked.stops = options_.stops;
    asked.trim_leading_space = format_.trims_leading_space() && text.empty();
    CARAT_TRY(const Answer made, answer(std::move(asked), left, cancelled, sink));
    conversation_.answer(made.tokens);
    text += made.text;
    add(reply.usage, made.usage);
    reply.cancelled = made.finish == FinishReason::kCancelled;
    const bool has_all = wanted >= 0 && reply.usage.generated_tokens >= wanted;
    if (made.finish != FinishReason::kLength || has_all) return reply;
    if (constraint && !made.tokens.empty())
      CARAT_CHECK(constraint->accept(made.tokens.back()));  // the engine had no use for it
  }
}

// Nothing where answers have no shape.
Result<std::shared_ptr<Constraint>> ChatSession::begin_answer() {
  if (!shape_) return std::shared_ptr<Constraint>();
  if (!grammars_) {
    CARAT_TRY(grammars_, make_grammars(tokenizer_, loaded_.config().eos_ids));
  }
  return begin_shape(*grammars_, *shape_);
}

int64_t ChatSession::context_limit() const {
  const int64_t most = loaded_.config().context_length;
  return options_.context > 0 ? std::min<int64_t>(options_.context, most) : most;
}

// An eighth of the context is enough for an answer to begin with; half of it is freed, to be full again only later.
Status ChatSession::make_room(int64_t answer_tokens, const Sink& notice) {
  const int64_t limit = context_limit();
  const int64_t room = std::clamp<int64_t>(std::min(answer_tokens, limit / 8), 1, limit);
  const auto length = static_cast<int64_t>(conversation_.prompt().size());
  if (length + room <= limit) return {};
  CARAT_TRY(const size_t least, conversation_.last_turn_tokens());
  if (static_cast<int64_t>(least) >= limit) {  // no dropping makes room for it, so nothing is dropped
    return Error{ErrorCode::kTooLong, fmt::format("the message has {} tokens, and a context of {} has room for {}",
                                                  least, limit, limit - 1)};
  }
  CARAT_TRY(const Conversation::Dropped dropped, conversation_.drop_oldest(static_cast<size_t>(limit / 2)));
  if (dropped.turns > 0) {
    notice(fmt::format("the context of {} tokens is full: the oldest {} of the conversation ({} tokens) dropped{}",
                       limit, dropped.turns == 1 ? "turn" : fmt::format("{} turns", dropped.turns), dropped.tokens,
                       system().empty() ? "" : ", the system message kept"));
  }
  return {};
}

// The positions that there are for prompt and answer, wherever they are computed.
Result<int64_t> ChatSession::reserve(int64_t answer_tokens) {
  if (elsewhere_) {
    constexpr int64_t kLeast = 4096;  // what a server gives anyway
    const int64_t limit = context_limit();
    const int64_t needed =
        static_cast<int64_t>(conversation_.prompt().size()) + std::clamp<int64_t>(answer_tokens, 1, limit / 8 + 1);
    const int64_t wanted = std::min(limit, options_.context > 0 ? limit : std::max(kLeast, 2 * needed));
    if (elsewhere_->reserve(wanted).ok()) return wanted;
    elsewhere_.reset();
  }
  CARAT_TRY(const Engine* engine, engine_for(answer_tokens));
  return engine->options().context;
}

// What cannot go elsewhere, and what fails there before it has said anything, is computed here.
Result<Answer> ChatSession::answer(AnswerRequest asked, int64_t answer_tokens, const Cancelled& cancelled,
                                   const Sink& sink) {
  if (elsewhere_ && can_go(asked)) {
    bool said = false;
    auto made = elsewhere_->stream(tokenizer_, asked, cancelled, [&](std::string_view text) {
      said = true;
      sink(text);
    });
    if (made.ok() || said) return made;
    elsewhere_.reset();
  }
  CARAT_TRY(Engine * engine, engine_for(answer_tokens));
  return stream_answer(*engine, tokenizer_, std::move(asked), cancelled, sink);
}

Result<Engine*> ChatSession::engine_for(int64_t answer_tokens) {
  const int64_t limit = context_limit();
  const int64_t needed =
      static_cast<int64_t>(conversation_.prompt().size()) + std::clamp<int64_t>(answer_tokens, 1, limit / 8 + 1);
  const int64_t context = options_.context > 0 ? limit : std::max(kUsualContext, 2 * needed);
  return loaded_.engine_of(std::min(context, limit), std::min(needed, limit));
}

ModelFacts ChatSession::facts() const {
  ModelFacts facts = facts_of(model());
  facts.system = system();
  for (const auto& [name, values] : parameters_) {
    std::erase_if(facts.parameters, [&, wanted = name](const auto& entry) { return entry.first == wanted; });
    for (const std::string& value : values) facts.parameters.emplace_back(name, value);
  }
  facts.messages = conversation_.messages();
  return facts;
}

Status ChatSession::save(const ModelName& name) const {
  const ResolvedModel& resolved = model().resolved;
  if (resolved.is_local) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{} is not in the store: `carat pull {} --name NAME` puts it there", name_, name_)};
  }
  CARAT_TRY(const Store store, Store::open());
  CARAT_TRY(const ModelName from, ModelName::parse(resolved.name));
  CARAT_TRY(const StoredModel stored, store.find(from));
  Manifest manifest = stored.manifest;
  manifest.system = system();
  manifest.messages = conversation_.messages();
  for (const auto& [parameter, values] : parameters_) {
    if (parameter == "stop") {
      manifest.stops = values;
      continue;
    }
    std::erase_if(manifest.parameters, [&, wanted = parameter](const auto& entry) { return entry.first == wanted; });
    manifest.parameters.emplace_back(parameter, values.back());
  }
  manifest.created = utc_now();
  return store.save(name, manifest, kForOwner);  // what somebody said
}

}  // namespace carat::chat
