"""What a built program needs of the system that it will run on, read out of it: symbol versions, functions, libraries.

What would not start on Ubuntu 22.04 (the oldest of those that the packages are for) is an error.
"""

import pathlib
import re
import subprocess
import sys

# The newest symbol versions that Ubuntu 22.04 has; Debian 12 and Ubuntu 24.04 have newer ones.
NEWEST = {"GLIBC": (2, 35), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13), "GCC": (12, 0, 0), "OPENSSL": (3, 0, 2)}

# Functions of libraries without a version for each release, newer than Ubuntu 22.04's (curl 7.81, libzip 1.7.3, libpng 1.6.37).
NEWER = re.compile(r"curl_(easy_(header|nextheader)|ws_\w+|global_trace|multi_(waitfds|get_handles|notify_\w+))"
                   r"|zip_(file_is_encrypted|source_(pass_to_lower_layer|is_seekable|layered\w*|window_create\w*|get_dostime)|realloc|file_attributes_\w+)"
                   r"|arc4random\w*")

# Libraries that Debian 12, Ubuntu 22.04 and 24.04 have under the same name, and the package that brings them (on 24.04 another one
# provides it). What is not here is linked in.
LIBRARIES = {
    "libc.so.6": "libc6 (>= 2.35)", "libm.so.6": "libc6 (>= 2.35)", "ld-linux-x86-64.so.2": "libc6 (>= 2.35)",
    "ld-linux-aarch64.so.1": "libc6 (>= 2.35)",
    "libcurl.so.4": "libcurl4 (>= 7.81.0)", "libcrypto.so.3": "libssl3 (>= 3.0.0)", "libssl.so.3": "libssl3 (>= 3.0.0)",
    "libzip.so.4": "libzip4 (>= 1.7.3)", "libedit.so.2": "libedit2 (>= 3.1)", "libpng16.so.16": "libpng16-16 (>= 1.6.2)",
    "libwebp.so.7": "libwebp7", "libz.so.1": "zlib1g",
}


def readelf(*arguments):
    return subprocess.run(("readelf", "--wide", *map(str, arguments)), check=True, capture_output=True, text=True).stdout


def architecture(program):
    """Debian's name of what it was compiled for."""
    machine = re.search(r"Machine:\s+(.*)", readelf("--file-header", program))[1]
    return {"Advanced Micro Devices X86-64": "amd64", "AArch64": "arm64"}[machine]


def needed_libraries(program):
    return re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", readelf("--dynamic", program))


def symbol_versions(program):
    """{(family, version)} of the symbols that it takes from libraries: {("GLIBC", (2, 34)), ...}."""
    needs = readelf("--version-info", program).split("Version needs section", 1)
    if len(needs) == 1:
        return set()
    return {(family, tuple(map(int, version.split(".")))) for family, version in
            re.findall(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC|OPENSSL)_(\d[\d.]*)", needs[1])}


def too_new(program):
    """What the program takes from libraries that Ubuntu 22.04 does not have."""
    found = [f"{family}_{'.'.join(map(str, version))}" for family, version in symbol_versions(program) if version > NEWEST[family]]
    for name in re.findall(r" UND (\w+)", readelf("--dyn-syms", program)):
        if NEWER.fullmatch(name):
            found.append(name)
    return sorted(found)


def dependencies(program):
    """The packages that bring the program's libraries. Exits where one has another name elsewhere."""
    packages = set()
    for library in needed_libraries(program):
        if library not in LIBRARIES:
            sys.exit(f"package: {library} has another name on other distributions: it must be linked in")
        packages.add(LIBRARIES[library])
    return sorted(packages)


# Libraries that every Linux of this age has, as PEP 600 counts them: a wheel does not carry these.
EVERYWHERE = re.compile(r"ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|nsl|gcc_s|stdc\+\+|z)\.so\.\d+")


def library_folders(root, arch):
    triplet = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[arch]
    return [pathlib.Path(root, folder, triplet) for folder in ("usr/lib", "lib")]


def carried_libraries(program, root="/"):
    """{name: path} of all that it needs beyond those, and what these need; looked for in a root of its architecture."""
    folders = library_folders(root, architecture(program))
    found, open_names = {}, [program]
    while open_names:
        for name in needed_libraries(open_names.pop()):
            if name in found or EVERYWHERE.fullmatch(name):
                continue
            paths = [folder / name for folder in folders if (folder / name).exists()]
            if not paths:
                sys.exit(f"package: {name} is not in {folders[0]}")
            found[name] = paths[0].resolve()
            open_names.append(found[name])
    return found
