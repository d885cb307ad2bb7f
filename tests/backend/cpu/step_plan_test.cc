// A step that names what is not there is refused before any kernel reads it.
#include "backend/cpu/step_plan.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace carat::cpu {
namespace {

struct Case {
  int32_t past = 0, rows = 4;
  std::vector<int32_t> global{0, 1, 2}, local{0, 1, 2};

  Status build() const {
    ModelPack model{};
    model.heads = model.kv_heads = 1;
    model.window = 100;
    const std::vector<int32_t> tokens(static_cast<size_t>(rows), 5);
    const SeqRows seq{0, rows, past, global, local};
    StepPlan plan;
    return plan.build({tokens, {&seq, 1}, {}}, model, {.global_pages = 3, .local_pages = 3, .max_rows = 512}, 2);
  }
  // The message, empty where it was planned.
  std::string refused() const {
    const Status status = build();
    if (status.ok()) return "";
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    return status.error().message;
  }
};

TEST(StepPlan, APositionOutsideItsTableIsRefused) {
  EXPECT_EQ((Case{.past = 188}.refused()), "");  // 191 is the last of three pages
  EXPECT_NE((Case{.past = 189}.refused()).find("position 192 lies outside a table of 3 pages"), std::string::npos);
  EXPECT_NE((Case{.past = -1}.refused()), "");
  EXPECT_NE((Case{.rows = 0}.refused()), "");
}

TEST(StepPlan, APageOutsideItsPoolIsRefused) {
  EXPECT_NE((Case{.global = {0, 3}}.refused()).find("page 3 of 3 global pages"), std::string::npos);
  EXPECT_NE((Case{.global = {-1}}.refused()), "");
  EXPECT_NE((Case{.local = {0, 1, 7}}.refused()).find("page 7 of 3 sliding pages"), std::string::npos);
}

TEST(StepPlan, ARingThatCannotHoldTheWindowIsRefused) {
  EXPECT_EQ((Case{.past = 150, .local = {0, 1, 2}}.refused()), "");  // keys 51 to 153: three pages
  EXPECT_NE((Case{.past = 150, .local = {0, 1}}.refused()).find("see 3 sliding pages; their ring has 2"),
            std::string::npos);
  EXPECT_EQ((Case{.past = 27, .local = {0}}.refused()), "");
  EXPECT_NE((Case{.local = {}}.refused()), "");
}

}  // namespace
}  // namespace carat::cpu
