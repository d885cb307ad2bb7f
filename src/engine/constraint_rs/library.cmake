# The target carat_constraint_rs: llguidance behind our C functions, built by cargo from the lock file. The crates are fetched once,
# when this is configured; building needs no network. Without a Rust of 1.87 or later there is no such target. Builds with AddressSanitizer
# take it as it is (its memory comes from the same malloc), and the same archive; ThreadSanitizer would not see Rust's locks. For another
# machine the toolchain file names CARAT_RUST_TARGET, and CARAT_RUST_SYSROOT, where that machine's standard library is.
set(CARAT_CONSTRAINT AUTO CACHE STRING "Constrained output: AUTO (where Rust 1.87 or later is found), ON (or stop), OFF")
find_program(CARAT_CARGO cargo HINTS $ENV{HOME}/.cargo/bin)
find_program(CARAT_RUSTC rustc HINTS $ENV{HOME}/.cargo/bin)
set(CARAT_RUST_FOLDER ${CMAKE_BINARY_DIR}/rust CACHE PATH "Where cargo builds: folders of other builds may share it")
set(constraint_rs ${CMAKE_CURRENT_LIST_DIR})
set(constraint_absent "")

if(CARAT_CONSTRAINT STREQUAL "OFF")
  set(constraint_absent "CARAT_CONSTRAINT=OFF")
elseif(NOT CARAT_CARGO OR NOT CARAT_RUSTC)
  set(constraint_absent "no Rust was found")
elseif(CMAKE_CROSSCOMPILING AND NOT CARAT_RUST_TARGET)
  set(constraint_absent "there is no Rust library of that machine")
else()
  execute_process(COMMAND ${CARAT_RUSTC} --version OUTPUT_VARIABLE rust_version ERROR_QUIET)
  string(REGEX MATCH "[0-9]+\\.[0-9]+" rust_version "${rust_version}")
  if(rust_version VERSION_LESS 1.87)
    set(constraint_absent "Rust is ${rust_version}, and 1.87 is needed")
  else()
    foreach(how --offline "") # without asking anybody, if they are there
      execute_process(COMMAND ${CARAT_CARGO} fetch --locked --quiet ${how} --manifest-path ${constraint_rs}/Cargo.toml
        RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
      if(NOT failed)
        break()
      endif()
    endforeach()
    if(failed)
      message(WARNING "cargo fetch failed in src/engine/constraint_rs:\n${output}")
      set(constraint_absent "cargo could not fetch what it is built from")
    endif()
  endif()
endif()

if(constraint_absent)
  if(CARAT_CONSTRAINT STREQUAL "ON")
    message(FATAL_ERROR "CARAT_CONSTRAINT=ON, but ${constraint_absent}")
  endif()
  message(STATUS "built without constrained output: ${constraint_absent}")
else()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${constraint_rs}/Cargo.lock)
  set(constraint_target ${CARAT_RUST_FOLDER})
  set(constraint_archive ${constraint_target}/release/libcarat_constraint.a)
  set(constraint_flags "--remap-path-prefix=${constraint_rs}=constraint_rs") # no names of this machine's folders in what is delivered
  if(DEFINED ENV{CARGO_HOME})
    list(APPEND constraint_flags "--remap-path-prefix=$ENV{CARGO_HOME}=cargo")
  else()
    list(APPEND constraint_flags "--remap-path-prefix=$ENV{HOME}/.cargo=cargo")
  endif()
  set(constraint_machine "")
  if(CMAKE_CROSSCOMPILING)
    set(constraint_machine --target ${CARAT_RUST_TARGET})
    set(constraint_archive ${constraint_target}/${CARAT_RUST_TARGET}/release/libcarat_constraint.a)
    list(APPEND constraint_flags "--sysroot=${CARAT_RUST_SYSROOT}" -Clinker=${CMAKE_CXX_COMPILER}
      -Clink-arg=--sysroot=${CMAKE_SYSROOT})
  endif()
  list(JOIN constraint_flags " " constraint_flags)
  set(constraint_sources "")
  foreach(file Cargo.toml Cargo.lock src/lib.rs src/compile.rs src/gbnf.rs src/memory.rs src/schema.rs src/tags.rs
      src/vocabulary.rs)
    list(APPEND constraint_sources ${constraint_rs}/${file})
  endforeach()
  add_custom_command(OUTPUT ${constraint_archive}
    COMMAND ${CMAKE_COMMAND} -E env RUSTC=${CARAT_RUSTC} "RUSTFLAGS=${constraint_flags}" ${CARAT_CARGO} build --release --locked --offline
      --quiet ${constraint_machine} --manifest-path ${constraint_rs}/Cargo.toml --target-dir ${constraint_target}
    DEPENDS ${constraint_sources} COMMENT "The grammar engine (cargo)" VERBATIM)
  add_custom_target(carat_constraint_archive DEPENDS ${constraint_archive})
  add_library(carat_constraint_rs STATIC IMPORTED GLOBAL)
  set_target_properties(carat_constraint_rs PROPERTIES IMPORTED_LOCATION ${constraint_archive}
    INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m")
  add_dependencies(carat_constraint_rs carat_constraint_archive)
endif()
