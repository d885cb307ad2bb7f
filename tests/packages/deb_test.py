"""The .deb in clean roots: it installs, answers, tells the truth about the machine, serves, and a purge leaves the models only.

On Debian 12 for both processors, arm64 under qemu. CARAT_SUITES="bookworm jammy noble" CARAT_ARCHITECTURES=amd64: on Ubuntu 22.04 and 24.04, too.
Ubuntu's arm64 packages are elsewhere: that the program would start there is read out of it (deploy/needs.py).
"""

import json
import os
import pathlib
import shutil
import sys
import unittest

import roots

sys.path.insert(0, str(roots.CHECKOUT / "deploy"))
import needs  # noqa: E402

SUITES = os.environ.get("CARAT_SUITES", "bookworm").split()
ARCHITECTURES = os.environ.get("CARAT_ARCHITECTURES", "amd64 arm64").split()
SERVICE = {"CARAT_HOME": "/var/lib/carat", "HOME": "/var/lib/carat"}


class Deb:
    """The tests, for one root; what each needs of those before is in its order."""

    arch = suite = ""

    @classmethod
    def setUpClass(cls):
        if not roots.may_run(cls.arch):
            raise unittest.SkipTest(f"programs for {cls.arch} cannot be run here: qemu-user-static and binfmt-support make it possible")
        cls.package = roots.package(cls.arch)
        cls.root = roots.Root(cls.arch, cls.suite)
        shutil.copy(cls.package, cls.root.path / "var" / cls.package.name)
        # What it depends on comes first: what is there after the purge must be what is there now.
        cls.root.install_needs_of(cls.package)
        cls.before = cls.root.files()
        cls.root.apt("install", f"/var/{cls.package.name}")
        cls.root.put_model(owner="carat:carat")

    @classmethod
    def tearDownClass(cls):
        cls.root.remove()

    def test_1_it_is_installed(self):
        for file in ("usr/bin/carat", "etc/default/carat", "lib/systemd/system/carat.service", "usr/share/man/man1/carat-serve.1.gz",
                     "usr/share/bash-completion/completions/carat"):
            self.assertTrue((self.root.path / file).is_file(), file)
        enabled = self.root.path / "etc/systemd/system/multi-user.target.wants/carat.service"
        self.assertTrue(enabled.is_symlink(), "systemd starts it at boot")
        self.assertEqual(self.root("id", "-un", "carat").stdout, "carat\n")
        self.assertIn(":/var/lib/carat:/usr/sbin/nologin", self.root("getent", "passwd", "carat").stdout)
        self.assertEqual(self.root("dpkg", "--verify", "carat").stdout, "")

    def test_2_it_answers_without_a_network(self):
        said = self.root("carat", "run", roots.MODEL, "What is the capital of France?", "--temperature", "0", "--num-predict", "1", user="carat",
                         environment=SERVICE).stdout
        self.assertEqual(said.strip(), "Paris")

    def test_3_the_doctor_tells_the_truth(self):
        said = json.loads(self.root("carat", "doctor", "--json", user="carat", environment=SERVICE).stdout)
        memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) * 1024
        self.assertEqual(said["memory"]["total"], memory)
        self.assertEqual(said["threads"], len(os.sched_getaffinity(0)))
        self.assertEqual(said["store"], "/var/lib/carat")
        self.assertTrue(said["backend"].startswith({"amd64": "cpu/", "arm64": "cpu/neon"}[self.arch]), said["backend"])
        version = self.root("carat", "version").stdout
        self.assertIn(f"this machine runs {said['backend']}", version)
        self.assertIn({"amd64": "x86-64", "arm64": "arm64"}[self.arch], version)

    def test_4_it_serves_as_the_unit_starts_it(self):
        self.root("sh", "-c", f"""
            carat serve >/tmp/log 2>&1 & server=$!
            for i in $(seq 300); do carat ps >/dev/null 2>&1 && break; sleep 0.2; done
            carat run {roots.MODEL} 'What is the capital of France?' --temperature 0 --num-predict 1 >/tmp/said
            carat ps >/tmp/ps
            kill -TERM $server; wait $server || {{ cat /tmp/log; exit 3; }}
            grep -q Paris /tmp/said && grep -q 270m-pt /tmp/ps || {{ cat /tmp/log /tmp/said /tmp/ps; exit 4; }}
            """, user="carat", environment=SERVICE)

    def test_5_a_purge_leaves_the_models_and_says_where(self):
        self.assertEqual(self.root.apt("remove", "carat").returncode, 0)
        self.assertFalse((self.root.path / "usr/bin/carat").exists())
        self.assertTrue((self.root.path / "etc/default/carat").exists(), "removed, not purged: the settings stay")
        said = self.root.apt("purge", "carat").stdout
        self.assertIn("the models are left in /var/lib/carat", said)
        left = {path for path in self.root.files() - self.before if not path.startswith("var/lib/carat/blobs")}
        self.assertEqual(left - {"var/lib/carat", f"var/{self.package.name}"} - {path for path in left if path.startswith("var/lib/carat/manifests")},
                         set())
        self.assertTrue((self.root.path / "var/lib/carat" / roots.MANIFEST).exists())

    def test_6_and_installs_again(self):
        self.root.apt("install", f"/var/{self.package.name}")
        self.assertIn(roots.MODEL, self.root("carat", "list", user="carat", environment=SERVICE).stdout)
        shutil.rmtree(self.root.path / "var/lib/carat/blobs")
        shutil.rmtree(self.root.path / "var/lib/carat/manifests")
        self.assertNotIn("are left", self.root.apt("purge", "carat").stdout)
        self.assertFalse((self.root.path / "var/lib/carat").exists())
        self.assertNotEqual(self.root("getent", "passwd", "carat", check=False).returncode, 0)


for suite in SUITES:
    for arch in ARCHITECTURES:
        name = f"On_{suite}_{arch}"
        globals()[name] = type(name, (Deb, unittest.TestCase), {"arch": arch, "suite": suite})


class Package(unittest.TestCase):
    """What can be read of each package without installing it."""

    def programs(self):
        for arch in ARCHITECTURES:
            folder = roots.TARBALLS / f"unpacked-{arch}"
            shutil.rmtree(folder, ignore_errors=True)
            roots.run("dpkg-deb", "--extract", roots.package(arch), folder)
            yield arch, folder / "usr/bin/carat"

    def test_it_needs_nothing_newer_than_ubuntu_22_04(self):
        for arch, program in self.programs():
            self.assertEqual(needs.architecture(program), arch)
            self.assertEqual(needs.too_new(program), [])
            self.assertIn("libc6 (>= 2.35)", needs.dependencies(program))
            self.assertNotIn("libstdc++.so.6", needs.needed_libraries(program))

    def test_it_names_nothing_of_the_machine_that_built_it(self):
        for _, program in self.programs():
            self.assertNotIn(str(roots.CHECKOUT).encode(), program.read_bytes())
            self.assertNotIn(b"/.cargo/registry", program.read_bytes())

    def test_arm64_is_small(self):
        if "arm64" in ARCHITECTURES:
            self.assertLess(roots.package("arm64").stat().st_size, 12_000_000)

    def test_lintian_has_no_errors(self):
        for arch in ARCHITECTURES:
            said = roots.run("lintian", "--allow-root", roots.package(arch), check=False).stdout
            self.assertEqual([line for line in said.split("\n") if line.startswith("E:")], [])

    def test_the_unit_is_right(self):
        root = roots.TARBALLS / "unit"
        shutil.rmtree(root, ignore_errors=True)
        roots.run("dpkg-deb", "--extract", roots.package(ARCHITECTURES[0]), root)
        unit = root / "lib/systemd/system/carat.service"
        unit.write_text(unit.read_text().replace("/usr/bin/carat", str(root / "usr/bin/carat")))  # verify looks for the program
        self.assertEqual(roots.run("systemd-analyze", "verify", "--man=no", unit, check=False).stderr, "")
        said = roots.run("systemd-analyze", "security", "--offline=true", "--threshold=30", unit, check=False)
        self.assertEqual(said.returncode, 0, said.stdout[-300:] + said.stderr)


if __name__ == "__main__":
    unittest.main()
