"""Makes a wheel that carries the program, and the libraries that not every Linux has: for people who live in Python's world.

`pip install carat` puts a small script `carat` on the PATH that becomes the program (exec). The libraries lie beside it and are found by
its own DT_RPATH, so neither LD_LIBRARY_PATH nor the libraries of the system are touched. The tag's glibc is the newest that any of
the files needs, as PEP 600 has it.
"""

import base64
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

import needs

ROOT = pathlib.Path(__file__).resolve().parent.parent

INIT = '''"""Carat runs Google's Gemma 3: this package carries the program, and `carat` on the PATH becomes it."""

import os
import pathlib
import sys

PROGRAM = pathlib.Path(__file__).resolve().parent / "bin" / "carat"
# The libraries beside the program were built for Debian: elsewhere the certificates of the system lie in other places.
CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem")


def main():
    if "SSL_CERT_FILE" not in os.environ and not os.path.exists(CERTIFICATES[0]):
        for file in CERTIFICATES[1:]:
            if os.path.exists(file):
                os.environ["SSL_CERT_FILE"] = file
                break
    os.execv(PROGRAM, ["carat", *sys.argv[1:]])
'''


def licences(libraries, root):
    """The copyright files of the packages that the libraries come from, by package."""
    package_of = {file: listing.stem.split(":")[0] for listing in pathlib.Path(root, "var/lib/dpkg/info").glob("*.list")
                  for file in listing.read_text().split("\n")}
    found = {}
    for path in libraries.values():
        inside = "/" + str(path.relative_to(pathlib.Path(root).resolve()))
        package = package_of.get(inside) or package_of.get(inside.removeprefix("/usr"))
        if package is None:
            sys.exit(f"package: no package of {root} has {inside}: under which licence is it?")
        found[package] = pathlib.Path(root, "usr/share/doc", package, "copyright").read_bytes()
    return found


def glibc(files):
    """The newest glibc that one of them needs."""
    return max(version for file in files for family, version in needs.symbol_versions(file) if family == "GLIBC")


def make_wheel(program, root, out, version, stamp, name="carat", level=9):
    """program: stripped. root: where its libraries are."""
    libraries = needs.carried_libraries(program, root)
    major, minor = glibc([program, *libraries.values()])[:2]
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[needs.architecture(program)]
    tag = f"py3-none-manylinux_{major}_{minor}_{machine}"
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    with tempfile.TemporaryDirectory() as folder:
        patched = pathlib.Path(folder, "carat")
        shutil.copy(program, patched)
        subprocess.run(["patchelf", "--force-rpath", "--set-rpath", "$ORIGIN/../lib", str(patched)], check=True)
        files = {f"{module}/bin/carat": (patched.read_bytes(), 0o755)}
    files[f"{module}/__init__.py"] = (INIT.encode(), 0o644)
    files[f"{module}/__main__.py"] = (f"from {module} import main\n\nmain()\n".encode(), 0o644)
    for library, path in libraries.items():
        files[f"{module}/lib/{library}"] = (path.read_bytes(), 0o755)
    files[f"{info}/licenses/LICENSE"] = ((ROOT / "LICENSE").read_bytes(), 0o644)
    files[f"{info}/licenses/THIRD_PARTY.md"] = ((ROOT / "THIRD_PARTY.md").read_bytes(), 0o644)
    for package, text in licences(libraries, root).items():
        files[f"{info}/licenses/{package}.txt"] = (text, 0o644)
    files[f"{info}/METADATA"] = ((f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: Runs Google's Gemma 3, with the interfaces "
                                  f"of Ollama and vLLM\nLicense: Apache-2.0\nRequires-Python: >=3.8\nDescription-Content-Type: text/markdown\n\n"
                                  + (ROOT / "README.md").read_text()).encode(), 0o644)
    files[f"{info}/WHEEL"] = (f"Wheel-Version: 1.0\nGenerator: carat\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(), 0o644)
    files[f"{info}/entry_points.txt"] = (f"[console_scripts]\ncarat = {module}:main\n".encode(), 0o644)
    record = "".join(f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}\n"
                     for path, (content, _) in sorted(files.items()))
    files[f"{info}/RECORD"] = ((record + f"{info}/RECORD,,\n").encode(), 0o644)
    path = out / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for inside, (content, mode) in sorted(files.items(), key=lambda entry: (info in entry[0], entry[0])):
            member = zipfile.ZipInfo(inside, time.gmtime(stamp)[:6])
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, (0o100000 | mode) << 16
            archive.writestr(member, content)
    return path
