"""Clean root file systems to install packages in: Debian 12 by mmdebstrap, for this machine's processor or, under qemu, another's.

A root is unpacked from a tarball that is made once (build/roots). Commands run in it with namespaces of their own: mounts and processes
are gone when the command ends, and without `network` there is a loopback device and nothing else. Needs root.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
TARBALLS = CHECKOUT / "build" / "roots"
DIST = pathlib.Path(os.environ.get("CARAT_DIST", CHECKOUT / "dist"))
UBUNTU = ("jammy", "noble", "resolute")  # 22.04, 24.04, 26.04; for arm64 the first two are elsewhere (ports.ubuntu.com)
UBUNTU_KEYS = "https://archive.ubuntu.com/ubuntu/pool/main/u/ubuntu-keyring/ubuntu-keyring_2021.03.26_all.deb"
OWN = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]  # this machine's processor, as Debian names it
MODEL = "gemma3:270m-pt"
QUESTION = ("carat", "run", MODEL, "What is the capital of France?", "--temperature", "0", "--num-predict", "1")  # Paris
STORE = pathlib.Path(os.environ.get("CARAT_HOME", pathlib.Path.home() / ".carat"))
MANIFEST = "manifests/registry.ollama.ai/library/gemma3/270m-pt"

# Mounts and enters the root. What is read of the kernel is this machine's.
ENTER = """set -e
mount -t proc proc "$0/proc"
mount -t sysfs -o ro sysfs "$0/sys"
mount -t tmpfs -o mode=1777 tmpfs "$0/tmp"
ip link set lo up 2>/dev/null || true
exec chroot "$0" "$@"
"""


def run(*command, check=True, timeout=1800, **options):
    options = {"capture_output": True, "text": True, **options}
    result = subprocess.run([str(part) for part in command], timeout=timeout, **options)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return result


def may_run(arch):
    """Whether programs of that processor start here."""
    handler = {"arm64": "qemu-aarch64", "amd64": "qemu-x86_64"}[arch]
    if OWN != arch and not pathlib.Path("/proc/sys/fs/binfmt_misc/status").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", "/proc/sys/fs/binfmt_misc", check=False)
        run("update-binfmts", "--enable", handler, check=False)
    return OWN == arch or pathlib.Path("/proc/sys/fs/binfmt_misc", handler).exists()


def archive(suite):
    """What mmdebstrap is told of a suite's archive. Debian has no package with Ubuntu's keys: they come from Ubuntu, by TLS, once."""
    if suite not in UBUNTU:
        return [], []
    keys = TARBALLS / "ubuntu-archive-keyring.gpg"
    if not keys.exists():
        with tempfile.TemporaryDirectory() as folder:
            run("curl", "--fail", "--silent", "--show-error", "--output", f"{folder}/keys.deb", UBUNTU_KEYS)
            run("dpkg-deb", "--extract", f"{folder}/keys.deb", folder)
            shutil.copy(f"{folder}/usr/share/keyrings/{keys.name}", keys)
    return [f"--keyring={keys}", "--components=main,universe"], ["http://archive.ubuntu.com/ubuntu"]


def tarball(arch, suite="bookworm"):
    path = TARBALLS / f"{suite}-{arch}.tar"
    if not path.exists():
        TARBALLS.mkdir(parents=True, exist_ok=True)
        options, mirror = archive(suite)
        run("mmdebstrap", "--variant=apt", "--mode=root", f"--arch={arch}", "--include=ca-certificates", *options, suite, f"{path}.part.tar",
            *mirror, timeout=3600)
        os.rename(f"{path}.part.tar", path)
    return path


def package(arch, ending="deb", name="carat"):
    found = sorted(DIST.glob(f"{name}_*_{arch}.{ending}"), key=lambda path: path.stat().st_mtime)
    assert found, f"no {name}_*_{arch}.{ending} in {DIST}: ./dev package makes it"
    return found[-1]


class Root:
    def __init__(self, arch, suite="bookworm"):
        self.arch = arch
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=f"carat-{suite}-{arch}-", dir=os.environ.get("TMPDIR", "/var/tmp")))
        run("tar", "-xpf", tarball(arch, suite), "-C", self.path, "--numeric-owner")
        for file in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{file}", self.path / "etc" / file)

    def remove(self):
        shutil.rmtree(self.path)

    def __call__(self, *command, network=False, user=None, environment=None, check=True, **options):
        inside = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root",
                     "DEBIAN_FRONTEND": "noninteractive", **(environment or {})}
        namespaces = ["--mount", "--pid", "--fork", "--kill-child"] + ([] if network else ["--net"])
        return run("unshare", *namespaces, "sh", "-c", ENTER, self.path, "env", *(f"{k}={v}" for k, v in variables.items()), *inside, *command,
                   check=check, **options)

    def apt(self, *arguments):
        return self("apt-get", "--yes", "--no-install-recommends", *arguments, network=True)

    def install_needs_of(self, package, *more):
        """What the package depends on, without it."""
        self("apt-get", "update", network=True)
        depends = run("dpkg-deb", "--field", package, "Depends").stdout
        self.apt("install", *more, *(part.split("(")[0].strip() for part in depends.split(",")))

    def files(self):
        """Every path of the root, but what apt and dpkg write down for themselves."""
        bookkeeping = ("var/lib/dpkg", "var/lib/apt", "var/cache", "var/log", "run", "etc/ld.so.cache", "var/lib/systemd/deb-systemd-helper-masked")
        found = set()
        for folder, folders, files in os.walk(self.path):
            for name in folders + files:
                path = os.path.relpath(os.path.join(folder, name), self.path)
                if not path.startswith(bookkeeping) and not path.endswith(("-", ".usr-is-merged")):  # passwd-; a mark of Ubuntu 24.04's own
                    found.add(path)
        return found

    def put_model(self, home="var/lib/carat", owner=None):
        """The real 270M, as if it had been pulled into that folder."""
        manifest = STORE / MANIFEST
        assert manifest.exists(), f"{MODEL} is not in {STORE}: carat pull {MODEL}"
        described = json.loads(manifest.read_text())
        target = self.path / home
        (target / MANIFEST).parent.mkdir(parents=True, exist_ok=True)
        (target / "blobs").mkdir(exist_ok=True)
        shutil.copy(manifest, target / MANIFEST)
        for layer in [described["config"], *described["layers"]]:
            name = layer["digest"].replace(":", "-")
            shutil.copy(STORE / "blobs" / name, target / "blobs" / name)
        if owner:
            self("chown", "-R", owner, "/" + home)
