// Pulls from a scripted registry: right when it is right; and whatever it does wrong, one line, nothing under a name that
// is not whole, and the next pull ends right (reliability.md R3).
#include <gtest/gtest.h>

#include <fstream>

#include "model/fixture.h"
#include "store/fake_registry.h"
#include "store/observer.h"
#include "store/pull/pull.h"
#include "store/store.h"

namespace carat {
namespace {

namespace fs = std::filesystem;

// Quick to lose patience, so that tests do not wait.
PullOptions impatient() {
  PullOptions options;
  options.http.plain_http = true;
  options.http.first_wait_ms = 5;
  options.http.longest_wait_ms = 50;
  options.http.stall_ms = 1000;
  options.http.attempts = 4;
  options.limits.piece_bytes = 100'000;
  options.limits.connections = 4;
  return options;
}

class RegistryPull : public testing::Test {
 protected:
  RegistryPull() { registry_.add_model("gemma3:1b", weights_); }

  Status pull_it(const PullOptions& options = impatient()) {
    observer_ = {};
    return pull(store_, name_, observer_, options);
  }
  // The store is untouched but for partial files, and a registry that behaves again gives the model.
  void expect_mends() {
    const auto listing = store_.list();
    ASSERT_TRUE(listing.ok());
    EXPECT_TRUE(listing->models.empty());
    EXPECT_TRUE(listing->problems.empty());
    registry_.behave();
    expect_pulls();
  }
  void expect_pulls() {
    const Status pulled = pull_it();
    ASSERT_TRUE(pulled.ok()) << pulled.error().message;
    const auto stored = store_.find(name_);
    ASSERT_TRUE(stored.ok()) << stored.error().message;
    const Status verified = store_.verify(stored->manifest);
    EXPECT_TRUE(verified.ok()) << verified.error().message;
    EXPECT_EQ(stored->manifest.files.front().blob.digest, sha256(weights_));
  }
  std::string weights_path() const { return "/v2/library/gemma3/blobs/" + sha256(weights_).text(); }
  void script_weights(const std::string& action) const {
    registry_.script(R"([{"match": ")" + weights_path() + R"(", )" + action + "}]");
  }

  test::TemporaryDirectory folder_;
  std::string weights_ = test::random_bytes(1'000'003);
  test::FakeRegistry registry_{folder_.path() / "registry"};
  Store store_{folder_.path() / "home"};
  ModelName name_ = *ModelName::parse(registry_.name("gemma3:1b"));
  test::RecordingObserver observer_;
};

TEST_F(RegistryPull, FetchesEveryLayer) {
  expect_pulls();
  const auto stored = store_.find(name_);
  EXPECT_EQ(stored->manifest.stops, std::vector<std::string>{"<end_of_turn>"});
  EXPECT_EQ(stored->manifest.parameter_size, "999.89M");
  EXPECT_EQ(stored->manifest.quantisation, "Q4_K_M");
  EXPECT_EQ(stored->manifest.license_name, "Gemma Terms of Use");
  const std::vector<std::pair<std::string, std::string>> parameters = {
      {"temperature", "1"}, {"top_k", "64"}, {"top_p", "0.95"}};
  EXPECT_EQ(stored->manifest.parameters, parameters);
  EXPECT_EQ(*store_.manifest_text(name_), [&] {
    std::ifstream file(registry_.folder() / "manifests/library/gemma3/1b");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }()) << "byte for byte, so that the id is the registry's";
  EXPECT_EQ(observer_.statuses.front(), "pulling manifest");
  EXPECT_EQ(observer_.statuses.back(), "success");
  EXPECT_GE(registry_.requests("\"range\": \"bytes="), 10u) << "several ranges";

  registry_.forget_log();
  expect_pulls();
  EXPECT_EQ(registry_.requests("blobs"), 0u) << "what is there is not fetched again";
}

TEST_F(RegistryPull, ADamagedBlobIsFetchedAgain) {
  expect_pulls();
  const fs::path path = store_.blobs().path_of(sha256(weights_));
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).write("x", 1);
  expect_pulls();
}

TEST_F(RegistryPull, GoesOnWhereItStopped) {
  script_weights(R"("cut": 50000, "skip": 3)");
  ASSERT_FALSE(pull_it().ok());
  const auto partial = fs::file_size(store_.blobs().path_of(sha256(weights_)).string() + "-partial");
  EXPECT_GE(partial, 300'000u);
  registry_.forget_log();
  expect_mends();
  EXPECT_TRUE(observer_.saw("resuming at"));
  EXPECT_EQ(registry_.requests("\"range\": \"bytes=0-"), 0u) << "nothing from its beginning: " << partial;
}

TEST_F(RegistryPull, ConnectionsThatBreakNowAndThenDoNotMatter) {
  for (const char* action :
       {R"("cut": 70000, "times": 5)", R"("status": 500, "times": 3)",
        R"("status": 429, "headers": {"Retry-After": "0"}, "times": 3)",
        R"("status": 503, "headers": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "times": 2)"}) {
    SCOPED_TRACE(action);
    fs::remove_all(store_.home());
    script_weights(action);
    expect_pulls();
  }
}

TEST_F(RegistryPull, AServerWithoutRangesWorks) {
  script_weights(R"("ignore_range": true)");
  expect_pulls();
  // And goes on in the middle, by skipping what is there.
  fs::remove_all(store_.home());
  script_weights(R"("ignore_range": true, "cut": 400000)");
  ASSERT_FALSE(pull_it().ok());
  script_weights(R"("ignore_range": true)");
  expect_pulls();
}

TEST_F(RegistryPull, LiesAreFoundOut) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {R"("flip": 777777)", {"its SHA-256 is", "not"}},
      {R"("length": 999999, "ignore_range": true)", {"has 999999 bytes there, and should have 1000003"}},
      {R"("total": 1000004)", {"has 1000004 bytes there"}},
      {R"("gzip": true, "ignore_range": true)", {"bytes there, and should have 1000003"}},
      {R"("cut": 0)", {"times in a row"}},
      {R"("status": 500)", {"it answers with status 500"}},
      {R"("status": 404)", {"is not there"}},
      {R"("status": 403)", {"it refuses (403)"}},
      {R"("status": 401)", {"wants a login"}},
      {R"("status": 416)", {"is shorter there"}},
      {R"("status": 204)", {"status 204"}},
      {R"("stall": 30)", {"it does not answer"}},
      {R"("trickle": 0.05)", {"it stopped sending"}},
  };
  for (const auto& [action, parts] : cases) {
    SCOPED_TRACE(action);
    fs::remove_all(store_.home());
    script_weights(action);
    const Status pulled = pull_it();
    ASSERT_FALSE(pulled.ok());
    EXPECT_TRUE(test::fails_with(pulled, pulled.error().code, parts));
    expect_mends();
  }
}

// Whether the first byte too many is seen before the last right one was written is a matter of luck; in the end the
// blob is what its name says, or there is none.
TEST_F(RegistryPull, ABodyThatNeverEndsIsCutOff) {
  script_weights(R"("endless": true, "ignore_range": true)");
  const Status pulled = pull_it();
  if (!pulled.ok()) {
    EXPECT_TRUE(test::fails_with(pulled, pulled.error().code, {"is longer than the 1000003 bytes"}));
    expect_mends();
  }
  EXPECT_TRUE(store_.verify(store_.find(name_)->manifest).ok());
}

TEST_F(RegistryPull, RangesThatAreOthersAreNotBelieved) {
  script_weights(R"("shift_range": 1, "times": 8)");
  const Status pulled = pull_it();
  if (!pulled.ok()) {
    EXPECT_TRUE(test::fails_with(pulled, ErrorCode::kNetwork, {"not the ranges"}));
    expect_mends();
  }
  EXPECT_TRUE(store_.verify(store_.find(name_)->manifest).ok());
}

TEST_F(RegistryPull, RedirectsCarryNoSecrets) {
  const std::string other = "http://localhost:" + std::to_string(registry_.port());
  registry_.script(R"([{"match": "127.0.0.1", "status": 500},
                       {"match": "^GET /v2/library/gemma3/blobs/.*", "need": "Bearer guest", "times": 1},
                       {"match": "^GET )" +
                   weights_path() + R"($", "redirect": ")" + other + weights_path() + R"(?elsewhere=1"}])");
  expect_pulls();
  size_t elsewhere = 0;
  for (const std::string& line : registry_.log()) {
    if (line.find("elsewhere=1") == std::string::npos) continue;
    ++elsewhere;
    EXPECT_NE(line.find("\"authorization\": null"), std::string::npos) << line;
    EXPECT_NE(line.find("localhost"), std::string::npos) << line;
  }
  EXPECT_GE(elsewhere, 10u);
  EXPECT_GE(registry_.requests("Bearer guest"), 1u);
  EXPECT_LE(registry_.requests("\"line\": \"GET " + weights_path() + "\""), 2u)
      << "the first redirect serves all ranges";
}

TEST_F(RegistryPull, AGuestsToken) {
  registry_.script(R"([{"match": "^GET /v2/", "need": "Bearer guest"}])");
  expect_pulls();
  EXPECT_EQ(registry_.requests("GET /token?scope=repository%3Ax%3Apull&service=fake"), 1u);
}

TEST_F(RegistryPull, ATokenThatIsNeverEnough) {
  registry_.script(R"([{"match": "^GET /v2/", "need": "Bearer other"}])");
  EXPECT_TRUE(test::fails_with(pull_it(), ErrorCode::kUnsupported, {"wants a login", "docker login"}));
  expect_mends();
}

TEST_F(RegistryPull, RedirectsThatAreNotFollowed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {registry_.url() + weights_path(), "more than 10 redirects"},
      {"http://169.254.169.254/latest/meta-data", "private address"},
      {"file:///etc/passwd", "a redirect to"},
      {"ftp://127.0.0.1/x", "a redirect to"},
      {"", "a redirect to nowhere"},
  };
  for (const auto& [target, part] : cases) {
    SCOPED_TRACE(target);
    fs::remove_all(store_.home());
    script_weights(R"("redirect": ")" + target + "\"");
    EXPECT_TRUE(test::fails_with(pull_it(), ErrorCode::kNetwork, {part}));
    expect_mends();
  }
}

TEST_F(RegistryPull, PlainHttpIsAskedForOrRefused) {
  PullOptions options = impatient();
  options.http.plain_http = false;
  EXPECT_TRUE(test::fails_with(pull_it(options), ErrorCode::kNetwork, {"--insecure"}));
  EXPECT_EQ(registry_.requests("/v2/"), 0u);
}

TEST_F(RegistryPull, ManifestsThatAreNone) {
  const std::string digest = sha256("x").text();
  const auto manifest = [&](const std::string& layer) {
    return R"({"schemaVersion":2,"config":{"mediaType":"c","digest":")" + digest + R"(","size":1},"layers":[)" + layer +
           "]}";
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not valid JSON"},
      {"<html>", "not valid JSON"},
      {"[]", "not a JSON object"},
      {std::string(5 << 20, ' '), "longer than"},
      {std::string(100000, '['), "nested too deeply"},
      {R"({"schemaVersion":1})", "'schemaVersion' is not 2"},
      {R"({"schemaVersion":2})", "'config' is missing"},
      {manifest(""), "'layers'"},
      {manifest(R"({"mediaType":"m","digest":"sha256:../../etc/passwd","size":1})"), "'digest'"},
      {manifest(R"({"mediaType":"m","digest":")" + digest + R"(","size":-1})"), "'size'"},
      {manifest(R"({"mediaType":"m","digest":")" + digest + R"(","size":1e99})"), "'size'"},
      {manifest(R"({"mediaType":"m","digest":")" + digest + R"(","size":2})"), "two sizes"},
  };
  for (const auto& [text, part] : cases) {
    SCOPED_TRACE(part);
    std::ofstream(registry_.folder() / "manifests/library/gemma3/1b") << text;
    const Status pulled = pull_it();
    ASSERT_FALSE(pulled.ok());
    EXPECT_TRUE(test::fails_with(pulled, pulled.error().code, {part}));
  }
  registry_.add_model("gemma3:1b", weights_);
  expect_mends();
}

TEST_F(RegistryPull, AnotherFamilyIsRefusedBeforeItsWeights) {
  const std::string large = test::random_bytes(2 << 20, 7);
  registry_.add_model("llama3.2:1b", large, "llama");
  const ModelName name = *ModelName::parse(registry_.name("llama3.2:1b"));
  EXPECT_TRUE(
      test::fails_with(pull(store_, name, observer_, impatient()), ErrorCode::kUnsupported, {"llama", "Gemma 3 only"}));
  EXPECT_EQ(registry_.requests(sha256(large).hex()), 0u);
}

TEST_F(RegistryPull, UnknownModels) {
  const ModelName name = *ModelName::parse(registry_.name("nope"));
  EXPECT_TRUE(test::fails_with(pull(store_, name, observer_, impatient()), ErrorCode::kNotFound, {"it has no"}));
  const ModelName dead = *ModelName::parse("127.0.0.1:9/library/gemma3:1b");
  EXPECT_TRUE(test::fails_with(pull(store_, dead, observer_, impatient()), ErrorCode::kNetwork, {"127.0.0.1:9"}));
}

TEST_F(RegistryPull, ANewManifestFreesTheOldWeights) {
  expect_pulls();
  const Digest old = sha256(weights_);
  weights_ = test::random_bytes(1'100'000, 8);
  registry_.add_model("gemma3:1b", weights_);
  expect_pulls();
  EXPECT_TRUE(observer_.saw("removing unused layers"));
  EXPECT_FALSE(fs::exists(store_.blobs().path_of(old)));
}

TEST_F(RegistryPull, CancelledAndGoneOnWith) {
  class Cancels : public test::RecordingObserver {
   public:
    void on_progress(std::string_view what, uint64_t done_bytes, uint64_t total_bytes) override {
      RecordingObserver::on_progress(what, done_bytes, total_bytes);
      cancel |= total_bytes > 1'000'000 && done_bytes > 200'000;
    }
  } cancels;
  EXPECT_TRUE(test::fails_with(pull(store_, name_, cancels, impatient()), ErrorCode::kCancelled, {"goes on"}));
  expect_mends();
  EXPECT_TRUE(observer_.saw("resuming at"));
}

}  // namespace
}  // namespace carat
