// Memory that cannot be had, as an error value. The standard library throws where it is asked for; this is put around
// what is one piece of work (opening, loading, an answer, a command), so that whoever asked goes on without it.
#pragma once

#include <new>
#include <stdexcept>
#include <string>

#include "base/result.h"

namespace carat {

// `work` returns a Result or a Status. Its objects are gone when memory runs out in the middle of it.
template <class Work>
auto with_memory(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {  // more than any container holds
  }
  return Error{ErrorCode::kOutOfMemory, "there is not enough memory for this"};
}

}  // namespace carat
