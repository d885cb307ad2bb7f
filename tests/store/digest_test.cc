// The digest of known texts, and that nothing but a plain digest is one (reliability.md R1).
#include "store/digest.h"

#include <gtest/gtest.h>

#include <string>

namespace carat {
namespace {

const std::string kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";  // FIPS 180-2, of "abc"

TEST(Digest, IsThatOfTheStandard) {
  EXPECT_EQ(sha256("abc").hex(), kAbc);
  EXPECT_EQ(sha256("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Digest, InPiecesIsTheSame) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span("a", 1)));
  hash.update({});
  hash.update(std::as_bytes(std::span("bc", 2)));
  EXPECT_EQ(hash.finish().hex(), kAbc);
  EXPECT_EQ(hash.finish(), sha256("")) << "it starts anew";
}

TEST(Digest, ParsesWhatItPrints) {
  const Digest digest = sha256("abc");
  EXPECT_EQ(Digest::parse(digest.text()), digest);
  EXPECT_EQ(digest.text(), "sha256:" + kAbc);
}

TEST(Digest, RefusesEverythingElse) {
  std::string upper = kAbc;
  upper[0] = 'B';
  for (const std::string& text :
       {std::string(), kAbc, "sha256:" + upper, "SHA256:" + kAbc, "sha256:" + kAbc + "0", "sha256:" + kAbc.substr(1),
        "sha256-" + kAbc, std::string("sha256:../../../../../../../../../../../../../../../../../../etc/pass"),
        "sha256:" + kAbc + "\n", "sha256:" + kAbc.substr(0, 63) + std::string(1, '\0'), " sha256:" + kAbc,
        "sha256:" + kAbc.substr(0, 62) + "/."}) {
    EXPECT_FALSE(Digest::parse(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace carat
