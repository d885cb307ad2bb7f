#!/usr/bin/env python3
"""Checks the laws of the source tree: what may include what, how big a file may be, what an object may export.

Every law is a function from a Tree (paths and texts) to violations, "path:line: what is wrong"; so its test can hand it a
made-up tree and see that it catches what it is there to catch (check_laws_test.py). Only Python's standard library.

    check_laws.py [--root DIR] [--objects isa_avx2.cc.o ...]
"""

import argparse
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass, field

# Who may include whom, below src/. Dependencies point one way; a folder may always include itself.
MAY_INCLUDE = {
    "base": set(),
    "formats": {"base"},
    "tokenizer": {"base", "formats"},
    "image": {"base"},
    "model": {"base", "formats", "sampling"},
    "backend": {"base", "formats", "model", "sampling"},
    "sampling": {"base"},
    "engine": {"base", "model", "backend", "sampling"},
    "store": {"base", "formats", "model"},
    "chat": {"base", "model", "backend", "engine", "sampling", "tokenizer", "store", "image"},
    "server": {"base", "formats", "model", "backend", "engine", "sampling", "tokenizer", "store", "image", "chat"},
    "cli": {"base", "formats", "model", "backend", "engine", "sampling", "tokenizer", "store", "image", "chat", "server"},
}

# From outside, a backend is these headers: what lies below them is nobody else's business.
BACKEND_DOORS = {"backend/backend.h", "backend/vision_encoder.h"}

# Headers that have a place: the pattern, the folders where it may stand, and the reason.
PLACED_HEADERS = [
    (r"nlohmann/json\.hpp", {"base"}, "base/json.h brings it, with a destructor that never throws"),
    (r"(nlohmann/|base/json\.h)", {"base", "formats", "model", "tokenizer", "store", "chat", "server", "cli"},
     "text and JSON end before the engine"),
    (r"(immintrin|x86intrin|arm_neon|cpuid)\.h", {"backend", "base"}, "intrinsics live in the backends"),
    (r"cuda", {"backend/cuda"}, "CUDA lives in its backend"),
    (r"(boost/(asio|beast)|curl/|openssl/ssl)", {"store", "server", "cli"}, "the network is the server's and the store's"),
    (r"CLI/", {"cli"}, "the command line is the cli's"),
    (r"iostream", {"cli"}, "library code does not print"),
]

# Calls that library code does not make: it returns an Error instead. assert_failed in result.h is the one way to stop.
FORBIDDEN_CALLS = re.compile(r"(?<![\w.>:])(?:std::)?(?:exit|_exit|abort|printf|puts|getenv)\s*\(|\bstd::c(?:out|err)\b")
MAY_CALL = {
    "src/base/result.h": "assert_failed: a programmer error stops the program here",
    "src/store/paths.cc": "CARAT_HOME moves the store",
}

# Ways to write to standard output or error past cli/output.h, and who may: that file, and who reports that memory is out.
SAYS_SOMETHING = re.compile(r"\bfmt::print\s*\(|\bstd::(?:cout|cerr|clog|puts|fputs|printf|fprintf|fwrite|putchar|fputc)\b")
SAYS_IT_ITSELF = {"src/cli/output.cc", "src/cli/report.cc"}

# Ways to open what a path names without looking at what it is (a FIFO waits for ever, /dev/zero never ends), and who may.
OPENS_ANYTHING = re.compile(r"\b(?:std::)?(?:i?fstream\b|fopen\s*\()")
OPENS_IT_ITSELF = {path: "the kernel's own files" for path in ("src/server/app.cc", "src/base/machine.cc", "src/base/sys_files.cc", "src/base/cgroup.cc")}

MAX_LINES = 600
LONGER = {}  # path: why one long file reads better than two

# Paths that only one machine has. (Written in pieces, so that this file obeys its own law.)
MACHINE_PATHS = re.compile(r"(^|[^A-Za-z0-9_.-])(/" + "work/|/" + "farm/|/" + r"root/)|\.\./" + "shared")

CPP = {".h", ".cc", ".inl", ".cu", ".cuh"}
COMMENT_STARTS = {**{suffix: ("//", "/*") for suffix in CPP}, ".py": ('"""', "#"), ".sh": ("#",), ".cmake": ("#",),
                  ".ts": ("//",), ".rs": ("//",), ".tsx": ("//",), ".mjs": ("//",), ".css": ("/*",)}


@dataclass
class Tree:
    """The committed text files: path relative to the root -> content."""

    files: dict = field(default_factory=dict)

    @classmethod
    def of_checkout(cls, root):
        listed = subprocess.run(
            ["git", "-C", root, "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True).stdout.decode().split("\0")
        tree = cls()
        for path in filter(None, listed):
            file = pathlib.Path(root, path)
            if file.is_file():
                try:
                    tree.files[path] = file.read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    pass  # golden data
        return tree

    def sources(self, *suffixes):
        """Files below src/ with one of these suffixes (all of C++ without): (path, text)."""
        wanted = suffixes or CPP
        return [(path, text) for path, text in sorted(self.files.items())
                if path.startswith("src/") and pathlib.PurePath(path).suffix in wanted]


def includes(text):
    """Every #include of a file: (line number, is a system header, name)."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line):
            yield number, found[1] == "<", found[2]


def in_folders(path, folders):
    return any(path.startswith(f"src/{folder}/") for folder in folders)


def sees_another_backend(path, name):
    mine = re.match(r"src/backend/(\w+)/", path)
    other = re.match(r"backend/(\w+)/", name)
    return mine is not None and other is not None and mine[1] != other[1]


def law_dependencies(tree):
    """Folders include only what lies below them; the backends are reached through one header and never see each other."""
    for path, text in tree.sources():
        folder = path.split("/")[1]
        if folder not in MAY_INCLUDE:
            yield f"{path}:1: the folder src/{folder} has no place in MAY_INCLUDE"
            continue
        for line, system, name in includes(text):
            if system:
                continue
            target = name.split("/")[0]
            if "/" not in name:
                yield f"{path}:{line}: includes \"{name}\": write the path from src/"
            elif target not in MAY_INCLUDE[folder] | {folder}:
                yield f"{path}:{line}: {folder}/ may not include {target}/"
            elif target == "backend" and folder != "backend" and name not in BACKEND_DOORS:
                yield f"{path}:{line}: from outside, a backend is backend/backend.h, not {name}"
            elif sees_another_backend(path, name):
                yield f"{path}:{line}: one backend sees another, {name}"


def law_placed_headers(tree):
    """JSON, intrinsics, CUDA, the network and printing stay where they belong."""
    for path, text in tree.sources():
        for line, _, name in includes(text):
            for pattern, folders, reason in PLACED_HEADERS:
                if re.match(pattern, name) and not in_folders(path, folders):
                    yield f"{path}:{line}: {name} does not belong here: {reason}"


def law_guarded_json(tree):
    """JSON comes from outside: whoever parses it has checked its depth and the length of its tokens (json_guard.h)."""
    for path, text in tree.sources():
        if "base/json.h" not in text or "check_json_limits" in text:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r"\b(?:json|Json)::(?:sax_)?parse\(|\bjson::accept\(", line.split("//")[0]):
                yield f"{path}:{number}: parses JSON without check_json_limits"


def law_calls(tree):
    """Library code neither prints, nor exits, nor reads the environment."""
    for path, text in tree.sources():
        if path.startswith("src/cli/") or path in MAY_CALL:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if found := FORBIDDEN_CALLS.search(line.split("//")[0]):
                yield f"{path}:{number}: {found[0].rstrip('( ')} belongs in cli/: return an Error instead"


def law_opening(tree):
    """Files are read through base/files.h: what is no regular file is an error, and nothing is read beyond a limit."""
    for path, text in tree.sources():
        for number, line in enumerate(text.splitlines(), 1):
            if path not in OPENS_IT_ITSELF and OPENS_ANYTHING.search(line.split("//")[0]):
                yield f"{path}:{number}: reads through base/files.h: read_file, open_regular"


def law_output(tree):
    """The command line says everything through cli/output.h: there it is made harmless, and there a full disk is noticed."""
    for path, text in tree.sources():
        if not path.startswith("src/cli/") or path in SAYS_IT_ITSELF:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if found := SAYS_SOMETHING.search(line.split("//")[0]):
                yield f"{path}:{number}: {found[0].rstrip('( ')}: say it through cli/output.h"


def law_device_code(tree):
    """A file is .cu if and only if it holds device code; device-only code lies in backend/cuda/device/*.cuh."""
    for path, text in tree.sources():
        device = re.search(r"__(global|device)__|\bCARAT_KERNEL(_OF_CLUSTERS_BESIDE|_OF_CLUSTERS)?\(|\bCARAT_DEVICE\b", text) is not None
        suffix = pathlib.PurePath(path).suffix
        if suffix == ".cu" and not device:
            yield f"{path}:1: a .cu file without device code: name it .cc"
        elif suffix == ".cuh" and not path.startswith("src/backend/cuda/device/"):
            yield f"{path}:1: device-only code lies in src/backend/cuda/device/"
        elif device and suffix not in (".cu", ".cuh"):
            yield f"{path}:1: device code in a file that is neither .cu nor .cuh"


def law_opening_comment(tree):
    """Every source file opens with what it is for; an x.cc or x_test.cc whose first line includes x.h leaves it to that."""
    for path, text in sorted(tree.files.items()):
        pure = pathlib.PurePath(path)
        starts = COMMENT_STARTS.get(pure.suffix)
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#!")]
        if not starts or not lines or lines[0].startswith(starts):
            continue
        first = next(includes(lines[0]), (0, True, ""))[2]
        if pathlib.PurePath(first).name != pure.stem.removesuffix("_test") + ".h":
            yield f"{path}:1: opens without a comment that says what it is for"


def law_size(tree):
    """A file over 600 lines makes its reader ask which two things it is."""
    for path, text in sorted(tree.files.items()):
        if pathlib.PurePath(path).suffix in COMMENT_STARTS:
            lines = text.count("\n")
            if lines > MAX_LINES and path not in LONGER:
                yield f"{path}:{MAX_LINES}: {lines} lines; which two things is it?"
    for path in LONGER:
        if tree.files.get(path, "").count("\n") <= MAX_LINES:
            yield f"{path}:1: listed as longer than {MAX_LINES} lines, and is not"


def law_listed(tree):
    """Every source is compiled: .cc and .cu stand in a CMakeLists.txt of their folder or above, .inl files are included."""
    included = {name for _, text in tree.sources() for _, _, name in includes(text)}
    for path, _ in tree.sources(".cc", ".cu", ".inl"):
        if path.endswith(".inl"):
            listed = path.removeprefix("src/") in included
        else:
            pure = pathlib.PurePath(path)
            listed = any(
                re.search(rf"(?<![\w./-]){re.escape(str(pure.relative_to(folder)))}(?![\w.-])",
                          tree.files.get(f"{folder}/CMakeLists.txt", ""))
                for folder in pure.parents if str(folder) != ".")
        if not listed:
            yield f"{path}:1: nothing compiles it: no CMakeLists.txt lists it and no file includes it"


def law_machine_paths(tree):
    """A fresh clone has neither one machine's folders nor what lies beside this checkout."""
    for path, text in sorted(tree.files.items()):
        for number, line in enumerate(text.splitlines(), 1):
            if found := MACHINE_PATHS.search(line):
                yield f"{path}:{number}: a path that a fresh clone does not have: {found[0].strip()}"


LAWS = [law_dependencies, law_placed_headers, law_guarded_json, law_calls, law_opening, law_output, law_device_code, law_opening_comment, law_size, law_listed,
        law_machine_paths]


def weak_symbols(object_name, nm_output):
    """An object built for one ISA exports no weak symbol but those of its own namespace: of two weak definitions the linker
    keeps either, so std::vector's code compiled for AVX-512 could be what an AVX2 machine runs."""
    isa = re.match(r"isa_\w+", object_name)[0]
    for line in nm_output.splitlines():
        found = re.match(r"[0-9a-f]*\s+([WwVvu])\s+(.*)", line.strip())
        if found and f"{isa}::" not in found[2] and not found[2].startswith("DW.ref."):
            yield f"{object_name}: exports weak {found[2]}: give it to another file, or to namespace {isa}"


def check_object(path):
    listing = subprocess.run(["nm", "--demangle", "--defined-only", path], check=True, capture_output=True, text=True)
    return list(weak_symbols(pathlib.PurePath(path).name, listing.stdout))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2], type=pathlib.Path)
    parser.add_argument("--objects", nargs="*", default=[], help="objects that are built for one ISA each")
    arguments = parser.parse_args()

    tree = Tree.of_checkout(arguments.root)
    violations = [violation for law in LAWS for violation in law(tree)]
    for path in arguments.objects:
        violations += check_object(path)
    for violation in violations:
        print(violation, file=sys.stderr)
    print(f"{len(LAWS)} laws, {len(tree.sources())} sources, {len(arguments.objects)} objects for one ISA: "
          f"{len(violations)} violations")
    return 1 if violations or not tree.sources() else 0


if __name__ == "__main__":
    sys.exit(main())
