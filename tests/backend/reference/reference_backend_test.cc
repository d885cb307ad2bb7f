// The reference behind the step boundary: paged, ringed and batched steps give the bits of the plain forward.
#include "backend/reference/reference_backend.h"

#include <cmath>
#include <numeric>

#include "model/fixture.h"
#include "model/reference.h"
#include "support/compare.h"
#include "support/text_step.h"

namespace carat::test {
namespace {

std::vector<int32_t> some_ids(size_t count, int32_t seed) {
  std::vector<int32_t> ids(count);
  for (size_t i = 0; i < count; ++i) ids[i] = static_cast<int32_t>((i * 37 + static_cast<size_t>(seed) * 101) % 1024);
  return ids;
}

class ReferenceBackendTest : public testing::Test {
 protected:
  void SetUp() override {
    model_ = std::move(*ModelFile::open(golden("gemma3-tiny-text")));  // window 16, global layer 5
    backend_ = create_reference_backend(model_.config, model_.weights);
    vocabulary_ = static_cast<size_t>(model_.config.vocabulary);
  }

  // Logits of every row, by the forward without pages.
  std::vector<float> plain(const std::vector<int32_t>& ids) const {
    std::vector<int32_t> rows(ids.size());
    std::iota(rows.begin(), rows.end(), 0);
    const ReferenceForward reference(model_.config, model_.weights);
    GrowingKv kv(model_.config);
    return reference.forward(ids, 0, rows, kv);
  }

  std::vector<float> run(const TextStep& step) { return step.run(*backend_); }

  ModelFile model_;
  std::unique_ptr<Backend> backend_;
  size_t vocabulary_ = 0;
};

TEST_F(ReferenceBackendTest, ChunksOverARingOfShuffledPages) {
  ASSERT_TRUE(backend_->reserve_kv({.global_pages = 9, .local_pages = 5, .max_rows = 32}).ok());
  const std::vector<int32_t> global_pages{7, 0, 3, 8}, ring{4, 1, 2};
  const std::vector<int32_t> ids = some_ids(230, 1);  // 3.6 pages: the ring of 3 wraps
  std::vector<float> joined;
  for (int32_t begin = 0; begin < 230; begin += 23) {
    std::vector<int32_t> rows(23);
    std::iota(rows.begin(), rows.end(), 0);
    const std::vector<SeqRows> seqs{{0, 23, begin, global_pages, ring}};
    const std::vector<float> logits = run({std::span(ids).subspan(static_cast<size_t>(begin), 23), seqs, rows});
    joined.insert(joined.end(), logits.begin(), logits.end());
  }
  EXPECT_TRUE(same_bits(joined, plain(ids)));
}

TEST_F(ReferenceBackendTest, ARowDoesNotDependOnItsNeighbours) {
  ASSERT_TRUE(backend_->reserve_kv({.global_pages = 4, .local_pages = 4, .max_rows = 64}).ok());
  const std::vector<int32_t> a = some_ids(30, 2), b = some_ids(17, 3);
  std::vector<int32_t> tokens = a;
  tokens.insert(tokens.end(), b.begin(), b.end());
  const std::vector<int32_t> pages_a{2}, pages_b{0};
  const std::vector<SeqRows> seqs{{0, 30, 0, pages_a, pages_a}, {30, 47, 0, pages_b, pages_b}};
  const std::vector<int32_t> wanted{29, 30, 46};
  const std::vector<float> together = run({tokens, seqs, wanted});
  ASSERT_EQ(together.size(), 3 * vocabulary_);
  const std::vector<float> alone_a = plain(a), alone_b = plain(b);
  EXPECT_TRUE(same_bits(std::span(together).first(vocabulary_), std::span(alone_a).last(vocabulary_)));
  EXPECT_TRUE(same_bits(std::span(together).subspan(vocabulary_, vocabulary_), std::span(alone_b).first(vocabulary_)));
  EXPECT_TRUE(same_bits(std::span(together).last(vocabulary_), std::span(alone_b).last(vocabulary_)));
}

TEST_F(ReferenceBackendTest, KeysThatWereNeverWrittenAreNan) {
  ASSERT_TRUE(backend_->reserve_kv({.global_pages = 2, .local_pages = 2, .max_rows = 8}).ok());
  const std::vector<int32_t> ids = some_ids(1, 4), pages{0, 1}, wanted{0};
  const std::vector<SeqRows> seqs{{0, 1, 3, pages, pages}};  // positions 0 to 2 do not exist
  const std::vector<float> logits = run({ids, seqs, wanted});
  ASSERT_EQ(logits.size(), vocabulary_);
  EXPECT_TRUE(std::isnan(logits[0]));
}

TEST_F(ReferenceBackendTest, TwoTicketsInFlightKeepTheirLogits) {
  ASSERT_TRUE(backend_->reserve_kv({.global_pages = 2, .local_pages = 2, .max_rows = 8}).ok());
  const std::vector<int32_t> a = some_ids(2, 5), b = some_ids(2, 6), page_a{0}, page_b{1}, wanted{1};
  const std::vector<SeqRows> seqs_a{{0, 2, 0, page_a, page_a}}, seqs_b{{0, 2, 0, page_b, page_b}};
  const TextStep step_a(a, seqs_a, wanted), step_b(b, seqs_b, wanted);
  const Backend::Ticket first = backend_->submit(step_a.step()).value();
  const Backend::Ticket second = backend_->submit(step_b.step()).value();
  const std::span<const float> of_first = backend_->wait(first).value().logits[0];
  const std::span<const float> of_second = backend_->wait(second).value().logits[0];
  EXPECT_TRUE(same_bits(of_first, std::span<const float>(plain(a)).last(vocabulary_)));
  EXPECT_TRUE(same_bits(of_second, std::span<const float>(plain(b)).last(vocabulary_)));
}

TEST_F(ReferenceBackendTest, InfoAndTimes) {
  ASSERT_TRUE(backend_->reserve_kv({.global_pages = 3, .local_pages = 2, .max_rows = 8}).ok());
  // 1 global layer of 3 pages and 7 sliding ones of 2: keys and values of 64 floats for 64 tokens a page.
  EXPECT_EQ(backend_->info().kv_bytes, (3u + 7u * 2u) * 64 * 2 * 64 * 4);
  EXPECT_EQ(backend_->info().name, "reference");
  const std::vector<int32_t> ids = some_ids(2, 7), page{0}, wanted{1};
  const std::vector<SeqRows> seqs{{0, 2, 0, page, page}};
  run({ids, seqs, wanted});
  uint64_t bytes = 0;
  for (const StageTime& time : backend_->stage_times()) {
    EXPECT_GE(time.seconds, 0);
    bytes += time.weight_bytes;
  }
  EXPECT_EQ(bytes, backend_->info().decode_bytes);
  for (const StageTime& time : backend_->stage_times()) EXPECT_EQ(time.seconds, 0);
}

TEST_F(ReferenceBackendTest, TooMuchMemoryIsAnError) {
  EXPECT_TRUE(fails_with(backend_->reserve_kv({.global_pages = 1 << 30, .local_pages = 1, .max_rows = 1}),
                         ErrorCode::kOutOfMemory, {"KV cache"}));
}

}  // namespace
}  // namespace carat::test
