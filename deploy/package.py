#!/usr/bin/env python3
"""Makes carat_VERSION_ARCH.deb, carat-VERSION-linux-ARCH.tar.gz and a wheel of a built program: `./dev package` calls it.

The same program and commit give the same bytes: every time stamp is the commit's, every owner root, every order sorted. needs.py says
whether it would start on Ubuntu 22.04. Only Python's standard library, dpkg-deb for the .deb, patchelf for the wheel.
"""

import argparse
import gzip
import hashlib
import io
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

import needs
import wheel


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def strip(program, out):
    """Leaves what is needed to run, nothing that tells where or with what it was built."""
    prefix = {"amd64": "x86_64-linux-gnu-", "arm64": "aarch64-linux-gnu-"}[needs.architecture(program)]
    tool = shutil.which(prefix + "strip") or "strip"
    shutil.copy(program, out)
    run(tool, "--strip-unneeded", "--remove-section=.comment", "--remove-section=.note", str(out))


def roff(text):
    """A line as roff takes it: nothing in it is a command."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def man_page(name, summary, text, version, date):
    """A page of section 1 of what `--help` prints: one text, two forms."""
    out = [f'.TH {name.upper()} 1 "{date}" "carat {version}" "User Commands"', ".SH NAME", f"{roff(name)} \\- {roff(summary)}"]
    lines = text.rstrip("\n").split("\n")
    usage = next(i for i, line in enumerate(lines) if line.startswith("Usage: "))
    out += [".SH SYNOPSIS", roff(lines[usage][len("Usage: "):]), ".SH DESCRIPTION", roff(summary) + ".", ".nf"]
    for line in lines[usage + 1:]:
        if line and not line.startswith(" ") and line.endswith(":"):
            out += [".fi", f".SH {roff(line[:-1].upper())}", ".nf"]
        else:
            out.append(roff(line))
    out += [".fi", ".SH SEE ALSO", "carat(1)" if name != "carat" else "carat\\-run(1), carat\\-serve(1)"]
    return "\n".join(out) + "\n"


def man_pages(program, version, date):
    top = run(*program, "--help")
    pages = {"carat.1": man_page("carat", top.split("\n")[0].rstrip("."), top, version, date)}
    for command in re.findall(r"^  ([a-z]+)", top.split("Subcommands:")[1], re.M):
        text = run(*program, command, "--help")
        pages[f"carat-{command}.1"] = man_page(f"carat-{command}", text.split("\n")[0].rstrip("."), text, version, date)
    return pages


class Tree:
    """What will be installed: path -> (bytes, mode)."""

    def __init__(self):
        self.files = {}

    def add(self, path, content, mode=0o644):
        self.files[path] = (content if isinstance(content, bytes) else content.encode(), mode)

    def write(self, folder, stamp):
        for path, (content, mode) in sorted(self.files.items()):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(mode)
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir():
                path.chmod(0o755)
            os.utime(path, (stamp, stamp))

    def tar(self, out, top, stamp):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path, (content, mode) in sorted(self.files.items()):
                entry = tarfile.TarInfo(f"{top}/{path}")
                entry.size, entry.mode, entry.mtime = len(content), mode, stamp
                tar.addfile(entry, io.BytesIO(content))
        out.write_bytes(gzip.compress(raw.getvalue(), 9, mtime=0))


def zipped(text):
    return gzip.compress(text if isinstance(text, bytes) else text.encode(), 9, mtime=0)


def debian_changelog(version, stamp):
    date = run("date", "-u", "-R", f"-d@{stamp}").strip()
    return (f"carat ({version}) unstable; urgency=medium\n\n  * See /usr/share/doc/carat/CHANGELOG.md.gz.\n\n"
            f" -- Carat maintainers <maintainers@carat.invalid>  {date}\n")


COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: carat

Files: *
Copyright: the Carat authors
License: Apache-2.0
 On Debian systems, the full text is in /usr/share/common-licenses/Apache-2.0.
 .
 What is linked in has licences of its own: see THIRD_PARTY.md beside this file.
"""


def contents(program, version, stamp, emulator=()):
    """What every kind of package has. The program's own words are in it: an emulator runs one of another processor."""
    date = run("date", "-u", "+%Y-%m-%d", f"-d@{stamp}").strip()
    common = Tree()
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder, "carat")
        strip(program, stripped)
        common.add("bin/carat", stripped.read_bytes(), 0o755)
    started = (*emulator, str(program))
    for name, page in man_pages(started, version, date).items():
        common.add(f"share/man/man1/{name}.gz", zipped(page))
    common.add("share/bash-completion/completions/carat", run(*started, "completion", "bash"))
    common.add("share/zsh/vendor-completions/_carat", run(*started, "completion", "zsh"))
    common.add("share/fish/vendor_completions.d/carat.fish", run(*started, "completion", "fish"))
    common.add("share/doc/carat/CHANGELOG.md.gz", zipped((ROOT / "CHANGELOG.md").read_bytes()))
    common.add("share/doc/carat/THIRD_PARTY.md", (ROOT / "THIRD_PARTY.md").read_bytes())
    common.add("share/doc/carat/README.md.gz", zipped((ROOT / "README.md").read_bytes()))
    return common


def make_tar(common, out, version, stamp, arch, name="carat"):
    tree = Tree()
    tree.files = dict(common.files)
    tree.add("LICENSE", (ROOT / "LICENSE").read_bytes())
    tree.add("carat.service", (HERE / "carat.service").read_bytes())
    tree.add("default", (HERE / "default").read_bytes())
    path = out / f"{name}-{version}-linux-{arch}.tar.gz"
    tree.tar(path, f"carat-{version}", stamp)
    return path


def make_deb(common, out, version, stamp, arch, depends, compression="-Zxz", name="carat"):
    tree = Tree()
    for path, (content, mode) in common.files.items():
        tree.add("usr/" + path, content, mode)
    tree.add("lib/systemd/system/carat.service", (HERE / "carat.service").read_bytes())
    tree.add("etc/default/carat", (HERE / "default").read_bytes())
    tree.add("usr/share/doc/carat/copyright", COPYRIGHT)
    tree.add("usr/share/doc/carat/changelog.gz", zipped(debian_changelog(version, stamp)))
    tree.add("usr/share/lintian/overrides/carat", (HERE / "debian" / "lintian-overrides").read_bytes())
    size = sum((len(content) + 1023) // 1024 for content, _ in tree.files.values())
    sums = "".join(f"{hashlib.md5(content).hexdigest()}  {path}\n" for path, (content, _) in sorted(tree.files.items()))
    other = "" if name == "carat" else f"Provides: carat (= {version})\nConflicts: carat\nReplaces: carat\n"
    control = (f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: Carat maintainers <maintainers@carat.invalid>\n"
               f"Installed-Size: {size}\nDepends: {', '.join(depends)}, adduser\nRecommends: ca-certificates, python3-pip\n{other}Section: science\nPriority: optional\n"
               "Description: runs Google's Gemma 3, with the interfaces of Ollama and vLLM\n"
               " One program that reads the published files of Gemma 3 and answers on the\n"
               " command line, or over HTTP as Ollama's, OpenAI's and Anthropic's servers do.\n"
               " The same prompt gives the same text on every machine.\n")
    tree.add("DEBIAN/control", control)
    tree.add("DEBIAN/md5sums", sums)
    tree.add("DEBIAN/conffiles", "/etc/default/carat\n")
    for script in ("postinst", "prerm", "postrm"):
        tree.add(f"DEBIAN/{script}", (HERE / "debian" / script).read_bytes(), 0o755)
    path = out / f"{name}_{version}_{arch}.deb"
    with tempfile.TemporaryDirectory() as folder:
        tree.write(pathlib.Path(folder), stamp)
        os.chmod(folder, 0o755)
        os.utime(folder, (stamp, stamp))
        run("dpkg-deb", "--root-owner-group", compression, "--build", folder, str(path), env={**os.environ, "SOURCE_DATE_EPOCH": str(stamp)})
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True, help="the built program")
    parser.add_argument("--name", default="carat", help="of the package: carat-cuda for a program with that backend")
    parser.add_argument("--emulator", default="", help="what runs a program of another processor: 'qemu-aarch64 -L SYSROOT'")
    parser.add_argument("--root", default="/", help="where the libraries that the wheel carries are: the root that it was linked with")
    parser.add_argument("--out", default="dist", help="where the packages go")
    parser.add_argument("--check", action="store_true", help="only look at what the program needs")
    arguments = parser.parse_args()
    program, emulator = arguments.program, shlex.split(arguments.emulator)
    if newer := needs.too_new(program):
        sys.exit(f"package: the program needs what Ubuntu 22.04 does not have: {', '.join(newer)}")
    depends = needs.dependencies(program)
    if arguments.check:
        return print("\n".join(depends))
    version = run(*emulator, program, "--version").split()[-1]
    stamp = int(os.environ.get("SOURCE_DATE_EPOCH") or run("git", "-c", "safe.directory=*", "-C", str(ROOT), "log", "-1", "--format=%ct"))
    arch = needs.architecture(program)
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    common = contents(program, version, stamp, emulator)
    made = [make_deb(common, out, version, stamp, arch, depends, name=arguments.name),
            make_tar(common, out, version, stamp, arch, name=arguments.name)]
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder, "carat")
        strip(program, stripped)
        made.append(wheel.make_wheel(stripped, arguments.root, out, version, stamp, arguments.name))
    for path in made:
        print(f"{path}  {path.stat().st_size} bytes")
    # Of all that lies there: what install.sh reads, once somebody has signed it.
    lying = sorted(path for path in out.iterdir() if path.suffix in (".deb", ".gz", ".whl"))
    (out / "SHA256SUMS").write_text("".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in lying))


if __name__ == "__main__":
    main()
