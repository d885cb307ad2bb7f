// Device memory that belongs to somebody.
#pragma once

#include <utility>

#include "backend/cuda/device.h"

namespace carat::cuda {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(host_, other.host_);
    return *this;
  }
  ~DeviceMemory() {
    if (data_ == nullptr) return;
    host_ ? device_->release_host(data_) : device_->release(data_);
  }

  static Result<DeviceMemory> allocate(Device& device, size_t bytes, std::string_view what) {
    DeviceMemory memory;
    CARAT_TRY(memory.data_, device.allocate(bytes, what));
    memory.device_ = &device;
    memory.bytes_ = bytes;
    return memory;
  }
  static Result<DeviceMemory> allocate_host(Device& device, size_t bytes) {
    DeviceMemory memory;
    CARAT_TRY(memory.data_, device.allocate_host(bytes));
    memory.device_ = &device;
    memory.bytes_ = bytes;
    memory.host_ = true;
    return memory;
  }

  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  Device* device_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  bool host_ = false;
};

// Offsets of arrays in one piece of memory, each on a border of 256 bytes.
class DeviceLayout {
 public:
  template <class T>
  size_t add(size_t count) {
    const size_t at = bytes_;
    bytes_ += (count * sizeof(T) + 255) / 256 * 256;
    return at;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

}  // namespace carat::cuda
