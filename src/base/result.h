// Errors as values. World errors (a file, a request, memory, the network) are a Result<T>; programmer errors are
// CARAT_ASSERT. Library code neither prints nor exits: it returns an Error whose message a person can act on.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace carat {

// One meaning each; the server maps each to one HTTP status, the command line to one exit code.
enum class ErrorCode {
  kInvalidArgument,  // a value out of range, an unknown option                                  exit 2
  kNotFound,         // a file, a model or a name that does not exist                            exit 1
  kCorruptFile,      // a file whose content is not what its format or the model table says      exit 1
  kUnsupported,      // well-formed, but not something this program runs                         exit 1
  kTooLong,          // a prompt longer than the context                                         exit 1
  kIo,               // the operating system refused: permissions, disk full, a read error       exit 1
  kNetwork,          // a download that failed                                                   exit 1
  kOutOfMemory,      // more memory than there is, or than the budget allows                     exit 1
  kCancelled,        // the user stopped it                                                      exit 130
};

struct Error {
  ErrorCode code;
  std::string message;  // one line: what was wrong, where, and what was expected or what to do
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() { return std::get<1>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  Error& error() { return *error_; }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

[[noreturn]] inline void assert_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
  std::abort();
}

}  // namespace carat

// A condition that only a bug in Carat can break. Checked in every build.
#define CARAT_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::carat::assert_failed(#condition, __FILE__, __LINE__))

#define CARAT_CONCAT_INNER(a, b) a##b
#define CARAT_CONCAT(a, b) CARAT_CONCAT_INNER(a, b)

// CARAT_TRY(auto file, FileMap::open(path));  declares the value, or returns the error from the enclosing function.
#define CARAT_TRY(declaration, expression) CARAT_TRY_INNER(declaration, expression, CARAT_CONCAT(try_, __LINE__))
#define CARAT_TRY_INNER(declaration, expression, name) \
  auto name = (expression);                            \
  if (!name.ok()) return std::move(name.error());      \
  declaration = std::move(name.value())

// The same for a Status.
#define CARAT_CHECK(expression)                           \
  do {                                                    \
    auto status_ = (expression);                          \
    if (!status_.ok()) return std::move(status_.error()); \
  } while (false)
