"""carat doctor on recorded machines: what it says of a Jetson, of a container, and of the machine that runs the test."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

CARAT = os.environ["CARAT_BINARY"]


def orin_nano(root):
    """A Jetson Orin Nano with JetPack 6 in its 7 W mode: four of six cores, 960 MHz, the GPU in the same memory."""
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0003\0nvidia,tegra234\0",
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n",
        "proc/self/status": "Name:\tcarat\nCpus_allowed_list:\t0-5\n",
        "proc/meminfo": "MemTotal: 7802560 kB\nMemFree: 100 kB\nMemAvailable: 5000000 kB\nSwapTotal: 3901280 kB\nSwapFree: 3901000 kB\n",
        "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition\t3901280\t280\t5\n",
        "sys/devices/system/cpu/present": "0-5\n",
        "sys/devices/system/cpu/online": "0-3\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "98500\n",
        "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive\n",
        "sys/class/thermal/thermal_zone0/trip_point_0_temp": "99000\n",
        "var/lib/nvpmodel/status": "pmode:0001 fmode:quiet\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n" + "".join(f"CPU_ONLINE CORE_{i} 1\n" for i in range(6)) +
                             "CPU_A78_0 MAX_FREQ 1497600\n< POWER_MODEL ID=1 NAME=7W >\n" +
                             "".join(f"CPU_ONLINE CORE_{i} {int(i < 4)}\n" for i in range(6)) + "CPU_A78_0 MAX_FREQ 960000\n",
    }
    for core in range(4):
        folder = f"sys/devices/system/cpu/cpu{core}"
        files[f"{folder}/topology/thread_siblings_list"] = f"{core}\n"
        files[f"{folder}/cpufreq/cpuinfo_max_freq"] = "1728000\n"
        files[f"{folder}/cpufreq/scaling_max_freq"] = "960000\n"
    for name, text in files.items():
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Doctor(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def doctor(self, *arguments):
        result = subprocess.run([CARAT, "doctor", *arguments], capture_output=True, text=True, timeout=60)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def test_a_jetson(self):
        orin_nano(self.root)
        said = json.loads(self.doctor("--root", str(self.root), "--json"))
        self.assertEqual(said["processor"], "Cortex-A78AE")
        self.assertEqual(said["offline"], [4, 5])
        self.assertEqual(said["threads"], 4)
        self.assertEqual(said["power_mode"], "7W")
        self.assertTrue(said["memory"]["shared_with_gpu"])
        self.assertEqual(said["memory"]["usable"], 5000000 * 1024)
        fits = {fit["model"]: fit["context"] for fit in said["fits"]}
        self.assertEqual(fits["gemma3:1b"], 32768)
        self.assertGreaterEqual(fits["gemma3:4b"], 8192)
        self.assertEqual(fits["gemma3:12b"], 0)
        remedies = " / ".join(complaint["remedy"] for complaint in said["complaints"])
        for remedy in ("nvpmodel -m 0", "a fan", "transparent_hugepage"):
            self.assertIn(remedy, remedies)
        page = self.doctor("--root", str(self.root))
        for words in ("Jetson Orin Nano", "shared with the GPU", "gemma3:12b", "does not fit", "! power mode 7W leaves 4 cores at 0.96 GHz"):
            self.assertIn(words, page)

    def test_a_container(self):
        orin_nano(self.root)
        (self.root / "proc/self/cgroup").write_text("0::/box\n")
        box = self.root / "sys/fs/cgroup/box"
        box.mkdir(parents=True)
        (self.root / "sys/fs/cgroup/cgroup.controllers").write_text("cpu memory\n")
        for name, text in {"memory.max": "1000000000\n", "memory.current": "100000000\n", "memory.stat": "inactive_file 0\n",
                           "cpu.max": "150000 100000\n"}.items():
            (box / name).write_text(text)
        said = json.loads(self.doctor("--root", str(self.root), "--json"))
        self.assertEqual(said["cgroup_memory"], 1000000000)
        self.assertEqual(said["cgroup_cpus"], 1.5)
        self.assertEqual(said["memory"]["usable"], 900000000)
        self.assertEqual([fit["context"] > 0 for fit in said["fits"]], [True, True, False, False, False])
        self.assertIn("cgroup limits memory", " ".join(complaint["what"] for complaint in said["complaints"]))

    def test_an_empty_root_is_no_fault(self):
        said = json.loads(self.doctor("--root", str(self.root), "--json"))
        self.assertEqual(said["memory"]["total"], 0)
        self.assertGreaterEqual(said["threads"], 1)
        self.doctor("--root", str(self.root))

    def test_this_machine(self):
        said = json.loads(self.doctor("--json"))
        self.assertTrue(said["backend"].startswith("cpu/"))
        self.assertGreater(said["memory"]["total"], 0)
        self.assertTrue(said["gpu"])
        self.assertGreater(said["disk_free"], 0)


if __name__ == "__main__":
    unittest.main()
