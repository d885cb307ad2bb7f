"""The service under a real systemd: a clean root of Debian 12 is booted (systemd-nspawn, a network of its own that leads nowhere), and
`apt install ./carat_*.deb` in it starts the server, with all that the unit forbids; it comes back when it dies or hangs."""

import os
import pathlib
import shutil
import subprocess
import time
import unittest

import roots



class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("systemd-nspawn"):
            raise unittest.SkipTest("no systemd-nspawn (systemd-container)")
        cls.root = roots.Root(roots.OWN)
        cls.package = roots.package(roots.OWN)
        shutil.copy(cls.package, cls.root.path / "var" / cls.package.name)
        cls.root.install_needs_of(cls.package, "systemd", "systemd-sysv")
        cls.root.put_model()
        # As it is delivered, but that it is not waited for a minute.
        quick = cls.root.path / "etc/systemd/system/carat.service.d/quick.conf"
        quick.parent.mkdir(parents=True)
        quick.write_text("[Service]\nWatchdogSec=3\nRestartSec=100ms\n")
        cls.boot = subprocess.Popen(["systemd-nspawn", "--quiet", "--directory", str(cls.root.path), "--boot", "--register=no", "--keep-unit",
                                     "--private-network", f"--machine=carat-{os.getpid()}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
        cls.wait_for(lambda: cls.first_process() and cls.inside("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"))

    @classmethod
    def tearDownClass(cls):
        cls.inside("systemctl", "poweroff", check=False)
        try:
            cls.boot.wait(60)
        except subprocess.TimeoutExpired:
            cls.boot.kill()
        cls.root.remove()

    @classmethod
    def wait_for(cls, met, seconds=120):
        until = time.monotonic() + seconds
        while not met():
            if time.monotonic() > until:
                raise AssertionError("it did not happen")
            time.sleep(0.2)

    @classmethod
    def first_process(cls):
        """Its systemd: the child of systemd-nspawn."""
        children = pathlib.Path(f"/proc/{cls.boot.pid}/task/{cls.boot.pid}/children").read_text().split()
        return children[0] if children else None

    @classmethod
    def inside(cls, *command, **options):
        return roots.run("nsenter", "-t", cls.first_process(), "-m", "-u", "-i", "-n", "-p", "-r", "-w", *command, **options)

    def as_somebody(self, *command):
        """As a user of the machine, who has no models of his own."""
        return self.inside("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME=/tmp", *command).stdout.strip()

    def shown(self, name):
        return self.inside("systemctl", "show", "--value", "--property", name, "carat").stdout.strip()

    def test_1_the_installation_starts_it_on_loopback(self):
        self.inside("sh", "-c", f"DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends /var/{self.package.name}")
        self.inside("chown", "-R", "carat:carat", "/var/lib/carat")
        self.assertEqual((self.shown("ActiveState"), self.shown("SubState"), self.shown("UnitFileState")), ("active", "running", "enabled"))
        listening = [line.split()[1] for line in self.inside("cat", "/proc/net/tcp", "/proc/net/tcp6").stdout.split("\n") if " 0A " in line]
        self.assertEqual(listening, [f"0100007F:{11434:04X}"], "127.0.0.1:11434 and nothing else")

    def test_2_it_answers_with_all_that_the_unit_forbids(self):
        self.assertEqual(self.as_somebody(*roots.QUESTION), "Paris")
        self.assertIn(roots.MODEL, self.as_somebody("carat", "ps"), "the service answered, not the command")
        said = self.inside("systemd-analyze", "security", "--threshold=30", "--no-pager", "carat", check=False)
        self.assertEqual(said.returncode, 0, said.stdout[-200:])

    def test_3_it_comes_back_when_it_was_killed(self):
        before = self.shown("MainPID")
        self.inside("systemctl", "kill", "--signal=KILL", "carat")
        self.wait_for(lambda: self.shown("ActiveState") == "active" and self.shown("MainPID") not in ("0", before))

    def test_4_and_when_it_hangs(self):
        before = self.shown("MainPID")
        self.inside("systemctl", "kill", "--signal=STOP", "carat")
        self.wait_for(lambda: self.shown("ActiveState") == "active" and self.shown("MainPID") not in ("0", before))
        self.assertIn("Watchdog timeout", self.inside("journalctl", "--unit", "carat", "--no-pager").stdout)
        self.assertEqual(self.as_somebody(*roots.QUESTION), "Paris")

    def test_5_a_stop_is_clean_and_a_purge_leaves_the_models(self):
        self.inside("systemctl", "stop", "carat")
        self.assertEqual((self.shown("ActiveState"), self.shown("Result")), ("inactive", "success"))
        self.inside("systemctl", "start", "carat")
        said = self.inside("apt-get", "purge", "--yes", "carat").stdout
        self.assertIn("the models are left in /var/lib/carat", said)
        self.assertEqual(self.inside("systemctl", "is-active", "carat", check=False).stdout.strip(), "inactive")


if __name__ == "__main__":
    unittest.main()
