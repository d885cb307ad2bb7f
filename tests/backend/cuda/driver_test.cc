// What becomes of a step when the driver or the device fails, and what is said where they do not fit, with a driver that is
// a script.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "backend/backend.h"
#include "backend/cpu/random_model.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/fake_driver.h"
#include "support/compare.h"
#include "support/text_step.h"

namespace carat {
namespace {

using test::FakeDriver;
using Failure = test::FakeDriver::Failure;

constexpr double kPatience = 0.2;  // seconds

const test::RandomModel& small_model() {
  static const test::RandomModel model = test::random_model(DType::kQ8_0, 1);
  return model;
}

std::unique_ptr<Backend> open(double patience = kPatience) {
  auto device = cuda::open_driver_device(test::fake_api(), test::fake_cubins({87, 90}), patience);
  EXPECT_TRUE(device.ok()) << device.error().message;
  auto backend = cuda::create_backend_on(std::move(*device), {}, small_model().config, small_model().weights);
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  EXPECT_TRUE((*backend)->reserve_kv({4, 4, 16}).ok());
  return std::move(*backend);
}

const std::vector<int32_t> kTokens{5, 6, 7}, kPage{0}, kLast{2};
const SeqRows kSeq{0, 3, 0, kPage, kPage};

TEST(Driver, SharesASmallMachinesMemory) {
  cuda::DeviceFacts orin;
  orin.memory_bytes = 7'900'000'000;
  orin.shares_memory = true;
  EXPECT_EQ(cuda::concurrency_of(orin).sequences, 16);
  EXPECT_EQ(cuda::concurrency_of(orin).rows, 512);
  EXPECT_EQ(cuda::concurrency_of(orin).alone_rows, 512);
  cuda::DeviceFacts thor = orin;
  thor.memory_bytes = uint64_t{122} << 30;
  EXPECT_EQ(cuda::concurrency_of(thor).sequences, 256);
  EXPECT_EQ(cuda::concurrency_of(thor).rows, 2048);
  cuda::DeviceFacts card = orin;
  card.shares_memory = false;  // nobody else's: the plan takes what there is
  EXPECT_EQ(cuda::concurrency_of(card).sequences, 256);
}

TEST(Driver, RunsTheForwardAndLooksForKernelsWhereTheyAre) {
  const FakeDriver& driver = test::fake_driver();
  const auto backend = open();
  auto made = create_backend({"cpu/portable", 1}, small_model().config, small_model().weights);
  const auto cpu = std::move(made.value());
  ASSERT_TRUE(cpu->reserve_kv({4, 4, 16}).ok());
  const test::TextStep step(kTokens, {&kSeq, 1}, kLast);
  EXPECT_TRUE(test::same_bits(step.run(*backend), step.run(*cpu)));
  EXPECT_EQ(backend->info().name, "cuda");
  EXPECT_FALSE(driver.function_missed);
  EXPECT_EQ(driver.modules_loaded, 2);
}

// The outcome of a step whose third launch fails, and of one after it.
std::vector<std::string> outcomes(Backend& backend) {
  const test::TextStep step(kTokens, {&kSeq, 1}, kLast);
  std::vector<std::string> messages;
  for (int i = 0; i < 2; ++i) {
    const auto ticket = backend.submit(step.step());
    if (!ticket.ok()) {
      messages.push_back(ticket.error().message);
      continue;
    }
    const auto result = backend.wait(*ticket);
    messages.push_back(result.ok() ? "" : result.error().message);
  }
  return messages;
}

void expect_all_to_fail(Failure failure, const std::string& message) {
  FakeDriver& driver = test::fake_driver();
  auto backend = open();
  driver.failure = failure;
  driver.launches_until_failure = driver.launches + 3;
  EXPECT_EQ(outcomes(*backend), (std::vector<std::string>{message, message}));
  EXPECT_TRUE(lost_device().has_value());
  backend.reset();
  EXPECT_EQ(driver.calls_after_failure, std::vector<std::string>()) << "what hangs cannot be freed";
}

TEST(Driver, AStickyErrorFailsThisStepAndAllAfterIt) {  // the first call after it says so
  expect_all_to_fail(Failure::kStepFails, "Fake 100: filling device memory: unspecified launch failure");
}
TEST(Driver, ALaunchThatIsRefusedFailsThem) {
  expect_all_to_fail(Failure::kLaunchIsRefused, "Fake 100: starting a kernel: invalid argument");
}
TEST(Driver, AStepThatNeverEndsIsGivenUp) {
  const auto begin = std::chrono::steady_clock::now();
  expect_all_to_fail(Failure::kStepNeverEnds, "Fake 100: a step hangs: nothing of it has ended for 0.2 seconds");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

// The thread of the steps itself is lost then; whoever waits is not, and nothing is destroyed under it.
TEST(Driver, ACallThatNeverReturnsIsGivenUp) {
  FakeDriver& driver = test::fake_driver();
  auto backend = open();
  driver.failure = Failure::kCallNeverReturns;
  driver.launches_until_failure = driver.launches + 3;
  const std::vector<std::string> messages = outcomes(*backend);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_TRUE(messages[0].starts_with("Fake 100: a step hangs: the driver has not answered for ")) << messages[0];
  EXPECT_EQ(messages[1], messages[0]);
  backend.reset();
  EXPECT_EQ(driver.calls_after_failure, std::vector<std::string>());
}

// Memory that is not there is no failure of the device: the next step may find some.
TEST(Driver, AStepThatFindsNoMemoryFailsAlone) {
  FakeDriver& driver = test::fake_driver();
  const auto backend = open();
  driver.allocations_until_none = 0;
  EXPECT_EQ(outcomes(*backend), (std::vector<std::string>(2, "no 3 KiB of pinned memory can be had")));
  driver.allocations_until_none = 1;  // for the keys of one step, but then none on the device
  EXPECT_EQ(outcomes(*backend)[0], "carat needs 1 MiB of device memory for a step; 1024 of 1024 MiB are free");
  driver.allocations_until_none = -1;
  EXPECT_EQ(outcomes(*backend), (std::vector<std::string>(2)));
}

std::string refusal(std::vector<int> archs, int compiler) {
  const auto device = cuda::open_driver_device(test::fake_api(), test::fake_cubins(std::move(archs), compiler));
  return device.ok() ? "" : device.error().message;
}

TEST(Driver, SaysWhatDoesNotFit) {
  FakeDriver& driver = test::fake_driver();
  driver.devices = 0;
  EXPECT_EQ(refusal({90}, 13), "the NVIDIA driver finds no device");
  driver.devices = 1;
  driver.major = 7;
  driver.minor = 5;
  EXPECT_EQ(refusal({87, 90}, 13), "Fake 100 is an sm_75; this program was built for sm_87, sm_90 (CARAT_CUDA_ARCHS)");
  driver.major = 8;
  driver.minor = 7;
  driver.version = 12060;  // JetPack 6
  EXPECT_EQ(refusal({87, 90}, 12), "");
  EXPECT_EQ(refusal({87}, 13),
            "Fake 100: its driver is of CUDA 12.6 and takes no kernels of a compiler of CUDA 13, which made those of "
            "sm_87: a newer driver does, or a build by CUDA 12");
  driver.minor = 0;  // sm_80 runs nothing of sm_87
  EXPECT_EQ(refusal({87}, 12), "Fake 100 is an sm_80; this program was built for sm_87 (CARAT_CUDA_ARCHS)");
}

// Of memory that a device shares, its driver calls free what no file is cached in either: of 119 GiB 2.9, with 116 that
// could be had, was seen elsewhere.
TEST(Driver, WhatFilesAreCachedInIsFreeWhereMemoryIsShared) {
  FakeDriver& driver = test::fake_driver();
  driver.free_bytes = 1 << 20;
  const auto free_bytes = [] {
    const auto device = cuda::open_driver_device(test::fake_api(), test::fake_cubins({90}));
    return device.ok() ? (*device)->facts().free_bytes : 0;
  };
  EXPECT_EQ(free_bytes(), 1u << 20);
  driver.integrated = true;
  EXPECT_GT(free_bytes(), 1u << 20);
  EXPECT_LE(free_bytes(), 1u << 30);  // all of the device's
}

}  // namespace
}  // namespace carat
