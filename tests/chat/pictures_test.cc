// What a prompt says about pictures, and where their embeddings go.
#include "chat/pictures.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "model/vision_synth.h"
#include "support/paths.h"

namespace carat::chat {
namespace {

VisionConfig small_config() {
  VisionConfig config;
  config.tokens = 4;
  config.begin_id = 7;
  config.end_id = 8;
  config.soft_id = 9;
  return config;
}

TEST(Pictures, TextIsWhatGemma3ProcessorExpands) {
  const std::string image = "\n\n<start_of_image><end_of_image>\n\n";
  EXPECT_EQ(picture_text(1), image);
  EXPECT_EQ(picture_text(3), "Here is the original image " + image +
                                 " and here are some crops to help you see better " + image + " " + image);
}

TEST(Pictures, SoftTokensStandBetweenBeginAndEnd) {
  std::vector<int32_t> ids{2, 7, 8, 5, 7, 5, 8, 7, 8};
  expand_images(small_config(), ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{2, 7, 9, 9, 9, 9, 8, 5, 7, 5, 8, 7, 9, 9, 9, 9, 8}));
  std::vector<int32_t> cut{7};
  expand_images(small_config(), cut);
  EXPECT_EQ(cut, std::vector<int32_t>{7});
}

TEST(Pictures, EmbeddingsGoWhereSoftTokensStand) {
  const EncodedImage a{1, std::make_shared<const std::vector<float>>(4)};
  const EncodedImage b{2, std::make_shared<const std::vector<float>>(4)};
  Request request;
  request.prompt = {2, 9, 9, 9, 9, 5, 9, 9, 9, 9, 6};
  ASSERT_TRUE(place_images(small_config(), std::vector{a, b}, request).ok());
  EXPECT_EQ(request.prompt, (std::vector<int32_t>{2, 0, 0, 0, 0, 5, 0, 0, 0, 0, 6}));
  ASSERT_EQ(request.images.size(), 2u);
  EXPECT_EQ(request.images[0].begin, 1);
  EXPECT_EQ(request.images[0].end, 5);
  EXPECT_EQ(request.images[0].hash, 1u);
  EXPECT_EQ(request.images[1].begin, 6);
  EXPECT_EQ(request.images[1].embeddings, b.embeddings);
}

TEST(Pictures, TheSamePictureIsLookedAtOnceAndTheTowerGoesWhenIdle) {
  PictureEncoder encoder({}, random_tower(tiny_vision_config(64), DType::kF16, 1));
  EXPECT_GT(encoder.needed_bytes().value(), 500'000u);
  EXPECT_FALSE(encoder.is_loaded());
  const std::string folder = std::string(kSourceDir) + "/tests/golden/images/";
  const auto first = encoder.encode_file(folder + "small.png", false);
  ASSERT_TRUE(first.ok()) << first.error().message;
  ASSERT_EQ(first->images.size(), 1u);
  EXPECT_TRUE(encoder.is_loaded());
  encoder.unload_after(std::chrono::hours(1));
  EXPECT_TRUE(encoder.is_loaded());
  encoder.unload_after({});
  EXPECT_FALSE(encoder.is_loaded());
  const auto again = encoder.encode_file(folder + "small.png", false);
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(encoder.is_loaded());
  EXPECT_EQ(again->images[0].hash, first->images[0].hash);
  EXPECT_EQ(again->images[0].embeddings, first->images[0].embeddings);  // the very same
  const auto other = encoder.encode_file(folder + "wide.png", true);
  ASSERT_TRUE(other.ok());
  EXPECT_TRUE(encoder.is_loaded());
  EXPECT_GT(other->images.size(), 2u);
  EXPECT_NE(other->images[0].hash, first->images[0].hash);
  encoder.unload_after({});
  const auto given_up = encoder.encode_file(folder + "tall.jpg", false, [] { return true; });
  ASSERT_FALSE(given_up.ok());
  EXPECT_EQ(given_up.error().code, ErrorCode::kCancelled);
}

TEST(Pictures, AsManySoftTokensAsImages) {
  const EncodedImage a{1, std::make_shared<const std::vector<float>>(4)};
  for (const std::vector<int32_t>& prompt : {std::vector<int32_t>{2, 5}, {2, 9, 9, 9}, {9, 9, 5, 9, 9}}) {
    Request request;
    request.prompt = prompt;
    EXPECT_FALSE(place_images(small_config(), std::vector{a}, request).ok());
  }
  Request none;
  none.prompt = {2, 5};
  EXPECT_TRUE(place_images(small_config(), {}, none).ok());
}

TEST(Pictures, NamesOfExistingPicturesLeaveThePrompt) {
  const std::string folder = std::string(kSourceDir) + "/tests/golden/images/";
  const TypedPrompt typed = split_typed_prompt("what is " + folder + "wide.png, and " + folder + "none.png?");
  EXPECT_EQ(typed.paths, std::vector<std::string>{folder + "wide.png"});
  EXPECT_EQ(typed.text, "what is , and " + folder + "none.png?");
  EXPECT_EQ(split_typed_prompt("see " + folder + "expected.json").paths, std::vector<std::string>());
  EXPECT_EQ(split_typed_prompt("a\\ b\n c").text, "a\\ b\n c");
  EXPECT_EQ(split_typed_prompt("a" + folder + "wide.png").paths, std::vector<std::string>());
}

TEST(Pictures, NamesAsPeopleTypeAndDragThem) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / "carat pictures (1)";
  fs::create_directories(folder);
  for (const char* name : {"my cat.PNG", "it's.jpg", "a.jpeg", "b.webp"}) std::ofstream(folder / name) << "x";
  const auto paths = [&](const std::string& prompt) { return split_typed_prompt(prompt).paths; };
  const std::string plain = folder.string();
  std::string escaped;
  for (const char c : plain) escaped += c == ' ' || c == '(' || c == ')' ? std::string("\\") + c : std::string(1, c);
  using List = std::vector<std::string>;
  EXPECT_EQ(paths(escaped + "/my\\ cat.PNG what is this"), List{plain + "/my cat.PNG"});
  EXPECT_EQ(paths("'" + plain + "/my cat.PNG' what"), List{plain + "/my cat.PNG"});
  EXPECT_EQ(split_typed_prompt("see '" + plain + "/my cat.PNG'.").text, "see .");
  EXPECT_EQ(paths("\"" + plain + "/it's.jpg\""), List{plain + "/it's.jpg"});
  EXPECT_EQ(paths(escaped + "/it\\'s.jpg"), List{plain + "/it's.jpg"});
  EXPECT_EQ(paths(escaped + "/a.jpeg " + escaped + "/b.webp?"), (List{plain + "/a.jpeg", plain + "/b.webp"}));
  EXPECT_EQ(paths("(" + escaped + "/a.jpeg)"), List{plain + "/a.jpeg"});
  fs::remove_all(folder);
}

}  // namespace
}  // namespace carat::chat
