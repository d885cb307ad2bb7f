#include "backend/device_loss.h"

#include <mutex>

#include "backend/backend.h"

namespace carat {
namespace {

std::mutex mutex;
std::optional<std::string> lost;  // NOLINT: a device belongs to the process

}  // namespace

void lose_device(const std::string& message) {
  const std::lock_guard lock(mutex);
  if (!lost) lost = message;
}

std::optional<std::string> lost_device() {
  const std::lock_guard lock(mutex);
  return lost;
}

}  // namespace carat
