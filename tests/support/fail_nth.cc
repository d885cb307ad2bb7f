// Preloaded into the program: the N-th allocation, thread start or write of main() fails, as it does where memory,
// threads or disk are used up. CARAT_FAIL is "alloc:N", "thread:N" or "write:N"; CARAT_FAIL_COUNT names a file that gets
// how many there were. What runs before and after main is let alone: it is the C library's.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* data, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace {

std::atomic<bool> armed{false};
std::atomic<long> done[3];
int kind = -1;
long wanted = 0;

bool fails(int what) {
  if (!armed) return false;
  const long number = done[what].fetch_add(1) + 1;
  return what == kind && number == wanted;
}

template <class T>
T real(const char* name) {
  return reinterpret_cast<T>(::dlsym(RTLD_NEXT, name));
}

int (*real_main)(int, char**, char**);

int counted_main(int argc, char** argv, char** environment) {
  const char* asked = std::getenv("CARAT_FAIL");
  const char* kinds[] = {"alloc:", "thread:", "write:"};
  for (int i = 0; asked != nullptr && i < 3; ++i) {
    const size_t length = std::strlen(kinds[i]);
    if (std::strncmp(asked, kinds[i], length) == 0) kind = i, wanted = std::atol(asked + length);
  }
  const char* report = std::getenv("CARAT_FAIL_COUNT");
  armed = true;
  const int code = real_main(argc, argv, environment);
  armed = false;
  if (report != nullptr) {
    char text[100];
    const int length =
        std::snprintf(text, sizeof text, "%ld %ld %ld\n", done[0].load(), done[1].load(), done[2].load());
    const int fd = ::open(report, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    static const auto write_it = real<ssize_t (*)(int, const void*, size_t)>("write");
    if (fd >= 0) write_it(fd, text, static_cast<size_t>(length));
  }
  return code;
}

}  // namespace

extern "C" {

void* malloc(size_t size) {
  if (!fails(0)) return __libc_malloc(size);
  errno = ENOMEM;
  return nullptr;
}

void* calloc(size_t count, size_t size) {
  if (!fails(0)) return __libc_calloc(count, size);
  errno = ENOMEM;
  return nullptr;
}

void* realloc(void* data, size_t size) {
  if (!fails(0)) return __libc_realloc(data, size);
  errno = ENOMEM;
  return nullptr;
}

void* aligned_alloc(size_t alignment, size_t size) {
  if (!fails(0)) return __libc_memalign(alignment, size);
  errno = ENOMEM;
  return nullptr;
}

int posix_memalign(void** data, size_t alignment, size_t size) {
  if (fails(0)) return ENOMEM;
  *data = __libc_memalign(alignment, size);
  return *data == nullptr ? ENOMEM : 0;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) {
  static const auto create =
      real<int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  return fails(1) ? EAGAIN : create(thread, attributes, body, argument);
}

ssize_t write(int fd, const void* data, size_t size) {
  static const auto write_it = real<ssize_t (*)(int, const void*, size_t)>("write");
  if (!fails(2)) return write_it(fd, data, size);
  errno = ENOSPC;
  return -1;
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  static const auto write_it = real<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
  if (!fails(2)) return write_it(fd, data, size, offset);
  errno = ENOSPC;
  return -1;
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  static const auto write_it = real<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
  if (!fails(2)) return write_it(fd, data, size, offset);
  errno = ENOSPC;
  return -1;
}

int fsync(int fd) {
  static const auto sync_it = real<int (*)(int)>("fsync");
  if (!fails(2)) return sync_it(fd);
  errno = EIO;
  return -1;
}

int rename(const char* from, const char* to) {
  static const auto rename_it = real<int (*)(const char*, const char*)>("rename");
  if (!fails(2)) return rename_it(from, to);
  errno = ENOSPC;
  return -1;
}

int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv, void (*init)(), void (*fini)(),
                      void (*rtld_fini)(), void* stack_end) {
  static const auto start =
      real<int (*)(int (*)(int, char**, char**), int, char**, void (*)(), void (*)(), void (*)(), void*)>(
          "__libc_start_main");
  real_main = main;
  return start(&counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}

}  // extern "C"
