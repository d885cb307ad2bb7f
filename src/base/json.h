// nlohmann/json.hpp with a destructor that never throws. The library takes a tree apart on a std::vector, so destroying a
// JSON value asks for memory, in a noexcept function: without memory that would end the program. Vectors of JSON values
// therefore get theirs from a small reserve where there is no other. Everybody includes this, nobody the library itself:
// one definition of the allocator for the whole program.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <type_traits>

namespace carat {

// As operator new and delete, but for the reserve. Throws std::bad_alloc where even that is used up.
void* allocate_json(size_t bytes);
void deallocate_json(void* data) noexcept;

template <class Json>
struct JsonAllocator {
  using value_type = Json;
  using size_type = size_t;
  using difference_type = ptrdiff_t;
  using propagate_on_container_move_assignment = std::true_type;
  using is_always_equal = std::true_type;

  Json* allocate(size_t count) { return static_cast<Json*>(allocate_json(count * sizeof(Json))); }
  void deallocate(Json* data, size_t) noexcept { deallocate_json(data); }
};

}  // namespace carat

// A program may specialise std::allocator for types of its own ([namespace.std]); the library leaves no other way in.
template <>
class std::allocator<nlohmann::json> : public carat::JsonAllocator<nlohmann::json> {
 public:
  allocator() noexcept = default;
  template <class Other>
  allocator(const std::allocator<Other>&) noexcept {}  // NOLINT(google-explicit-constructor): as std::allocator's
  friend bool operator==(const allocator&, const allocator&) noexcept { return true; }
};
template <>
class std::allocator<nlohmann::ordered_json> : public carat::JsonAllocator<nlohmann::ordered_json> {
 public:
  allocator() noexcept = default;
  template <class Other>
  allocator(const std::allocator<Other>&) noexcept {}  // NOLINT(google-explicit-constructor): as std::allocator's
  friend bool operator==(const allocator&, const allocator&) noexcept { return true; }
};

#include <nlohmann/json.hpp>  // NOLINT(llvm-include-order): after the allocator
