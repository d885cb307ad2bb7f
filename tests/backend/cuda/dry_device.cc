#include "backend/cuda/dry_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace carat::test {
namespace {

class DryDevice final : public cuda::Device {
 public:
  DryDevice(const cuda::DeviceFacts& facts, DryRecord& record) : facts_(facts), record_(record) {}
  cuda::DeviceFacts facts() const override { return facts_; }
  void enter() override {}
  Result<void*> allocate(size_t bytes, std::string_view) override {
    const size_t size = (std::max<size_t>(bytes, 1) + 255) / 256 * 256;
    const uint64_t at = next_;  // an address that nothing lies at
    next_ += size;
    sizes_[at] = size;
    record_.bytes += size;
    record_.most_bytes = std::max(record_.most_bytes, record_.bytes);
    return reinterpret_cast<void*>(at);
  }
  void release(void* memory) override { record_.bytes -= sizes_.extract(reinterpret_cast<uint64_t>(memory)).mapped(); }
  Result<void*> allocate_host(size_t bytes) override { return std::calloc(bytes + 1, 1); }
  void release_host(void* memory) override { std::free(memory); }
  Result<Kernel> find(std::string_view name) override {
    return &*record_.launched.emplace(name, DryRecord::Most{}).first;
  }
  void upload(void*, const void*, size_t) override {}
  void download(void* to, const void*, size_t bytes) override { std::memset(to, 0, bytes); }
  void fill(void*, uint8_t, size_t) override {}
  void launch(Kernel kernel, const cuda::Launch& how, const void*, size_t) override {
    auto* entry = static_cast<std::pair<const std::string, DryRecord::Most>*>(const_cast<void*>(kernel));
    entry->second.threads = std::max(entry->second.threads, how.threads);
    entry->second.shared_bytes = std::max(entry->second.shared_bytes, how.shared_bytes);
  }
  void mark(int) override {}
  Status finish() override { return {}; }
  Status wait_for(int, const std::function<void()>& meanwhile) override {
    if (meanwhile) meanwhile();
    return {};
  }
  double silent_seconds() const override { return 0; }
  double seconds_between(int, int) override { return 0; }

 private:
  const cuda::DeviceFacts facts_;
  DryRecord& record_;
  uint64_t next_ = uint64_t{1} << 40;
  std::map<uint64_t, size_t> sizes_;
};

}  // namespace

std::unique_ptr<cuda::Device> dry_device(const cuda::DeviceFacts& facts, DryRecord& record) {
  return std::make_unique<DryDevice>(facts, record);
}

}  // namespace carat::test
