"""deploy/Containerfile, really built and asked, with no registry: buildah makes the base image of a Debian 12 root of mmdebstrap, builds on it without
a daemon (chroot isolation, vfs storage), and the container answers with no network, as nobody, on a root that it cannot write to.

Containerfile.cuda is not built: its bases are in registries that cannot be reached, and it needs a device to say anything.
"""

import json
import pathlib
import shutil
import tempfile
import unittest

import roots



class Container(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("buildah"):
            raise unittest.SkipTest("no buildah")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="carat-container-", dir="/var/tmp"))
        cls.policy = cls.folder / "policy.json"
        cls.policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        base = cls.buildah("from", "scratch").strip()
        cls.buildah("add", base, roots.tarball(roots.OWN), "/")
        cls.buildah("commit", "--format", "docker", base, "localhost/debian:12")
        cls.buildah("rm", base)
        context = cls.folder / "context"
        (context / "dist").mkdir(parents=True)
        shutil.copy(roots.package(roots.OWN), context / "dist")
        cls.buildah("build", "--isolation", "chroot", "--format", "docker", "--build-arg", "BASE=localhost/debian:12", "--build-arg", f"TARGETARCH={roots.OWN}",
                    "--file", roots.CHECKOUT / "deploy" / "Containerfile", "--tag", "carat", context)
        cls.container = cls.buildah("from", "carat").strip()
        cls.mounted = pathlib.Path(cls.buildah("mount", cls.container).strip())
        # The volume: /var/lib/carat of whoever runs it, with the real 270M in it.
        cls.volume = cls.folder / "volume"
        store = object.__new__(roots.Root)
        store.path = cls.folder
        store.put_model("volume")
        owner = next(line.split(":")[2:4] for line in (cls.mounted / "etc/passwd").read_text().split("\n") if line.startswith("carat:"))
        roots.run("chown", "-R", ":".join(owner), cls.volume)
        cls.owner = int(owner[0])

    @classmethod
    def tearDownClass(cls):
        cls.buildah("rm", "--all")
        cls.buildah("rmi", "--all", "--force")
        shutil.rmtree(cls.folder)

    @classmethod
    def buildah(cls, *arguments, before=()):
        storage = ["--storage-driver", "vfs", "--root", cls.folder / "storage", "--runroot", cls.folder / "run"]
        # The signature policy is an option of some commands only.
        signed = ["--signature-policy", cls.policy] if arguments[0] in ("from", "build", "commit") else []
        return roots.run(*before, "buildah", *storage, arguments[0], *signed, *arguments[1:]).stdout

    def inside(self, *command):
        """In the container as it is configured (its user, its environment), with a loopback device and no other."""
        return self.buildah("run", "--isolation", "chroot", "--volume", f"{self.volume}:/var/lib/carat", self.container, "--", *command,
                            before=("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"))

    def test_it_answers_with_no_network(self):
        self.assertEqual(self.inside(*roots.QUESTION).strip(), "Paris")

    def test_it_is_nobody(self):
        self.assertEqual(self.inside("id", "-un").strip(), "carat")
        self.assertNotEqual(self.owner, 0)

    def test_the_daemon_is_healthy_as_the_image_asks_it(self):
        config = json.loads(self.buildah("inspect", "--type", "image", "carat"))["Docker"]["config"]
        self.assertEqual(config["Healthcheck"]["Test"], ["CMD", "carat", "ps"])
        self.assertEqual((config["User"], config["Cmd"], config["StopSignal"]), ("carat", ["carat", "serve"], "SIGTERM"))
        self.assertEqual(list(config["Volumes"]), ["/var/lib/carat"])
        self.assertEqual(self.inside("sh", "-c", """
            carat serve >/dev/null 2>&1 & server=$!
            for i in $(seq 100); do carat ps >/dev/null 2>&1 && break; sleep 0.2; done
            carat ps >/dev/null && echo healthy
            kill -TERM $server; wait $server && echo stopped"""), "healthy\nstopped\n")

    def test_its_root_may_be_read_only(self):
        said = roots.run("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", """set -e
            mount --bind "$0" "$0"
            mount -t proc proc "$0/proc"
            mount --bind "$1" "$0/var/lib/carat"
            mount -t tmpfs -o mode=1777 tmpfs "$0/tmp"
            mount -o remount,bind,ro "$0"
            root=$0; shift
            if touch "$root/usr/bin/x" 2>/dev/null; then exit 9; fi
            exec chroot "$root" setpriv --reuid=carat --regid=carat --init-groups env HOME=/var/lib/carat CARAT_HOME=/var/lib/carat "$@"
            """, self.mounted, self.volume, *roots.QUESTION).stdout
        self.assertEqual(said.strip(), "Paris")


if __name__ == "__main__":
    unittest.main()
