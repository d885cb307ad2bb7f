// Functions that an answer may call, as the APIs offer them: told to the model, enforced where that is asked for, and found in what it
// says. tool_requests.h reads them from JSON.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/tool_scanner.h"
#include "chat/tool_turns.h"
#include "server/shape.h"

namespace carat::server {

inline constexpr size_t kMostTools = 128;

struct OfferedTools {
  enum class Choice { kNone, kAuto, kRequired, kNamed };
  struct Function {
    std::string name, description;
    std::string schema;  // of its arguments: JSON
    // Its arguments have the schema whenever it is called. Without it only where tool_choice says that it must be: whoever offers a
    // function with a schema that cannot be enforced is not refused for that, and its arguments are some object.
    bool strict = false;
  };

  std::vector<Function> functions;
  std::string told;  // the list as the model is shown it
  Choice choice = Choice::kNone;
  std::string named;
  bool parallel = true;

  bool may_be_called() const { return choice != Choice::kNone && !functions.empty(); }
  // What the answer is held to. With a JSON schema beside the functions it is either a call or that; where nothing enforces calls, the
  // other shapes are kept as they are, and calls are found in them. Error: kInvalidArgument, a shape that cannot stand beside
  // functions whose schemas are enforced.
  Result<std::optional<Shape>> shape(const std::optional<Shape>& asked) const;
  // How the model's answer begins, where that is known: what follows is the arguments of the function that was named.
  std::string answer_begins() const;
  chat::Tools prompt(const std::optional<Shape>& asked) const;
  // Null where nothing can be called. `marked`: the model writes calls between FunctionGemma's marks, where nothing enforces them.
  std::unique_ptr<chat::ToolScanner> scanner(const std::optional<Shape>& asked, bool marked) const;
  std::string responses_json() const;  // the list, as Responses repeat it

 private:
  bool enforces(const std::optional<Shape>& asked) const;
};

// "call_" and 24 letters and digits that nobody can guess.
std::string random_call_id(std::string_view prefix, size_t length);

// A call as it comes together.
struct CalledFunction {
  std::string id, name, arguments;
};

}  // namespace carat::server
