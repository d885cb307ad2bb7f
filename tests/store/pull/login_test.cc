// Who Carat says it is, and to whom: challenges, Docker's file, Ollama's key. The signature is OpenSSL's own
// (`openssl pkeyutl -sign -rawin`) of the same text; the real Ollama's requests are compared in tests/real.
#include "store/pull/login.h"

#include <gtest/gtest.h>

#include "model/fixture.h"
#include "store/pull/base64.h"
#include "store/pull/ollama_key.h"

namespace carat {
namespace {

constexpr const char* kKey = R"(-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACBIUy4C8AoMSpU4E4MOyIUf1xRow3myMKbCzjQXQ/VAtgAAAIgGXun0Bl7p
9AAAAAtzc2gtZWQyNTUxOQAAACBIUy4C8AoMSpU4E4MOyIUf1xRow3myMKbCzjQXQ/VAtg
AAAECY2SEMAAyQTRJXZQkKAwb3qicv/UTTe1ReYlJG+X6UEEhTLgLwCgxKlTgTgw7IhR/X
FGjDebIwpsLONBdD9UC2AAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
)";

TEST(Base64, BothWays) {
  for (const std::string text : {"", "a", "ab", "abc", "abcd", "\xff\x00\xfe"})
    EXPECT_EQ(from_base64(base64(text)), text);
  EXPECT_EQ(base64("user:pass"), "dXNlcjpwYXNz");
  for (const char* bad : {"a", "ab", "abc", "=abc", "====", "a===", "a b=", "\xff\xff\xff\xff"})
    EXPECT_FALSE(from_base64(bad)) << bad;
}

TEST(OllamaKey, SignsAsOpensslDoes) {
  const auto key = OllamaKey::parse(kKey, "key");
  ASSERT_TRUE(key.ok()) << key.error().message;
  const auto signature = key->sign(token_request_text(
      "https://ollama.com/"
      "token?nonce=abc&scope=repository%3Ame%2Fmine%3Apull%2Cpush&service=ollama.com&ts=1764115200"));
  ASSERT_TRUE(signature.ok());
  EXPECT_EQ(*signature,
            "AAAAC3NzaC1lZDI1NTE5AAAAIEhTLgLwCgxKlTgTgw7IhR/XFGjDebIwpsLONBdD9UC2:"
            "HR9IblKKv2T/arvZpgthfKeonCTQ7rIwx3buHmq+7dTobeKEsByodKKqd4uLnNEVw9hzh1nu9yfigi/AyDMFDg==");
}

TEST(OllamaKey, AnythingElseIsRefused) {
  const std::string good = kKey;
  for (size_t length = 0; length < good.size() - 2; length += 7) {
    EXPECT_TRUE(
        test::fails_with(OllamaKey::parse(good.substr(0, length), "the/key"), ErrorCode::kUnsupported, {"the/key"}));
  }
  // Any byte of it that differs: refused, or only its comment or padding was hit.
  const size_t begin = good.find('\n') + 1;
  for (size_t at = begin; at < begin + 350; ++at) {
    std::string bad = good;
    bad[at] = bad[at] == 'A' ? 'B' : 'A';
    (void)OllamaKey::parse(bad, "key");
  }
  EXPECT_FALSE(OllamaKey::parse("-----END OPENSSH PRIVATE KEY----------BEGIN OPENSSH PRIVATE KEY-----", "key").ok());
}

TEST(Challenge, InItsForms) {
  const Challenge full = parse_challenge(R"(Bearer realm="https://a/t",service="s",scope="repository:x/y:pull,push")");
  EXPECT_EQ(full.scheme, "bearer");
  EXPECT_EQ(full.realm, "https://a/t");
  EXPECT_EQ(full.service, "s");
  EXPECT_EQ(full.scope, "repository:x/y:pull,push");
  const Challenge loose = parse_challenge("BASIC Realm=here , charset=\"UTF-8\"");
  EXPECT_EQ(loose.scheme, "basic");
  EXPECT_EQ(loose.realm, "here");
  for (const char* text :
       {"", " ", "Bearer", "Bearer realm", "Bearer realm=", "Bearer realm=\"", "Bearer =\"x\"", "\"\"\"=,="}) {
    EXPECT_EQ(parse_challenge(text).realm, "") << text;
  }
}

TEST(Login, DockersFile) {
  const auto login = [](const char* config, const char* host) {
    const auto found = login_in(config, host);
    return found.ok() ? *found : found.error().message;
  };
  const char* config =
      R"({"auths":{"https://registry.example:5000/v1/":{"auth":"dXNlcjpwYXNz"},"Other.example":{"username":"u","password":"p"},
                          "lines.example":{"auth":"dXNl\ncjpw\r\nYXNz"},"empty.example":{},"bad.example":{"auth":"!"},"list.example":[1]}})";
  EXPECT_EQ(login(config, "registry.example:5000"), "Basic dXNlcjpwYXNz");
  EXPECT_EQ(login(config, "REGISTRY.example:5000"), "Basic dXNlcjpwYXNz");
  EXPECT_EQ(login(config, "other.example"), "Basic dTpw");
  EXPECT_EQ(login(config, "lines.example"), "Basic dXNlcjpwYXNz") << "a header is one line";
  for (const char* host : {"registry.example", "registry.example:5001", "example:5000", "empty.example", "bad.example",
                           "list.example", ""}) {
    EXPECT_EQ(login(config, host), "") << host;
  }
  for (const char* none : {"{}", "[]", "3", R"({"auths":[]})", R"({"auths":{"a":3}})"})
    EXPECT_EQ(login(none, "a"), "") << none;
  EXPECT_TRUE(test::fails_with(login_in(R"({"auths":{"a":{}},"credsStore":"desktop"})", "a"), ErrorCode::kUnsupported,
                               {"docker-credential-desktop"}));
  EXPECT_TRUE(test::fails_with(login_in(R"({"credHelpers":{"a:1":"pass"}})", "a:1"), ErrorCode::kUnsupported,
                               {"docker-credential-pass"}));
  EXPECT_FALSE(login_in("{", "a").ok());
}

TEST(Login, GoesOnlyWhereItBelongs) {
  const std::string registry = "https://registry.gitlab.example";
  for (const char* good : {"https://registry.gitlab.example/token", "https://registry.gitlab.example:443/token",
                           "https://gitlab.example/jwt/auth"}) {
    EXPECT_TRUE(may_give_tokens(registry, good)) << good;
  }
  for (const char* bad :
       {"http://registry.gitlab.example/token", "http://gitlab.example/jwt/auth",
        "https://registry.gitlab.example:444/", "https://evil.example/", "https://lab.example/", "https://example/",
        "https://registry.gitlab.example.evil.example/", "https://x@evil.example/registry.gitlab.example",
        "ftp://registry.gitlab.example/", "", "/token"}) {
    EXPECT_FALSE(may_give_tokens(registry, bad)) << bad;
  }
  EXPECT_FALSE(may_give_tokens("https://10.0.0.1", "https://0.0.1/"));
  EXPECT_TRUE(may_give_tokens("http://127.0.0.1:5000", "http://127.0.0.1:5000/token"));
  EXPECT_FALSE(may_give_tokens("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"));
}

}  // namespace
}  // namespace carat
