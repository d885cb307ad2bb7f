// What carries bytes: a TCP socket, with TLS around it or without. Only the network's own files include this (Asio).
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace carat::server {

class Transport {
 public:
  using Done = std::function<void(boost::system::error_code, size_t)>;
  virtual ~Transport() = default;
  virtual void handshake(std::function<void(boost::system::error_code)> done) = 0;
  // One read and one write may be under way at once. The bytes must stay where they are until `done`.
  virtual void read_some(boost::asio::mutable_buffer into, Done done) = 0;
  virtual void write_all(boost::asio::const_buffer from, Done done) = 0;
  virtual boost::asio::ip::tcp::socket& socket() = 0;
};

std::unique_ptr<Transport> plain_transport(boost::asio::ip::tcp::socket socket);

// A certificate chain and its key, read once and again on reload().
class TlsIdentity {
 public:
  virtual ~TlsIdentity() = default;
  virtual std::unique_ptr<Transport> wrap(boost::asio::ip::tcp::socket socket) = 0;
  // Errors: kIo, kInvalidArgument, naming the file.
  static Result<std::unique_ptr<TlsIdentity>> load(const std::string& certificates, const std::string& key);
};

}  // namespace carat::server
