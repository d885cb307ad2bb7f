# For 64-bit Arm (Jetson) from another machine: Debian's cross compiler, and the arm64 packages that ./dev unpacked into
# build-arm64/sysroot. Test programs run under qemu; CARAT_QEMU_CPU is the processor that they find.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

get_filename_component(checkout ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
set(CMAKE_SYSROOT ${checkout}/build-arm64/sysroot)
set(CMAKE_FIND_ROOT_PATH ${CMAKE_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(ENV{PKG_CONFIG_DIR} "")
set(ENV{PKG_CONFIG_LIBDIR} ${CMAKE_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${CMAKE_SYSROOT})

# The grammar engine, where ./dev found Rust's library for arm64: of the same version as the Rust that Debian installed here.
if(EXISTS ${checkout}/build-arm64/rust-sysroot/usr/lib/rustlib)
  set(CARAT_RUST_TARGET aarch64-unknown-linux-gnu)
  set(CARAT_RUST_SYSROOT ${checkout}/build-arm64/rust-sysroot/usr)
  set(CARAT_CARGO /usr/bin/cargo)
  set(CARAT_RUSTC /usr/bin/rustc)
endif()

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${CMAKE_SYSROOT} -cpu max)
