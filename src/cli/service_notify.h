// What systemd wants to know of a service (Type=notify, WatchdogSec): sd_notify(3)'s protocol, one datagram a message.
#pragma once

#include <string>

namespace carat::cli {

// Sends "READY=1", "STOPPING=1", "WATCHDOG=1" to where NOTIFY_SOCKET says; without one it does nothing, as it does when
// nobody listens.
class ServiceNotify {
 public:
  ServiceNotify();
  ~ServiceNotify();
  ServiceNotify(const ServiceNotify&) = delete;
  ServiceNotify& operator=(const ServiceNotify&) = delete;

  void send(const char* state) const;

 private:
  int fd_ = -1;
  std::string address_;  // of the socket; a leading NUL for an abstract one
};

}  // namespace carat::cli
