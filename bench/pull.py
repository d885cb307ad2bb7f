#!/usr/bin/env python3
"""How fast a pull from a registry on this machine is, and how much memory it takes: hash, write and sync included.

    bench/pull.py [--carat build/carat] [--gib 2] [--runs 3] [FOLDER]

The scripted registry of the tests serves from FOLDER (default /dev/shm: no disk) with sendfile; the store is beside it.
Beside each pull stands what `dd conv=fsync` of as much takes there, and what one core hashes."""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import store_harness  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="/dev/shm")
    parser.add_argument("--carat", default=str(ROOT / "build" / "carat"))
    parser.add_argument("--gib", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(dir=options.folder, prefix="carat-bench-"))
    size = options.gib << 30
    try:
        registry = store_harness.Registry(folder / "registry")
        manifest = registry.add_model("gemma3", "1b", b"")
        weights, piece = folder / "weights", os.urandom(1 << 20)  # not in memory: a child's peak begins at its parent's
        digest = hashlib.sha256()
        with open(weights, "wb") as file:
            for _ in range(options.gib << 10):
                file.write(piece)
                digest.update(piece)
        weights.rename(registry.folder / "blobs" / f"sha256-{digest.hexdigest()}")
        manifest["layers"][0] |= {"digest": f"sha256:{digest.hexdigest()}", "size": size}
        (registry.folder / "manifests/library/gemma3/1b").write_text(json.dumps(manifest))
        environment = {**os.environ, "HOME": str(folder), "CARAT_HOME": str(folder / "home"), "CARAT_REGISTRY": registry.url,
                       "HF_ENDPOINT": "http://127.0.0.1:9", "OLLAMA_MODELS": str(folder / "none")}
        for _ in range(options.runs):
            shutil.rmtree(folder / "home", ignore_errors=True)
            begin = time.monotonic()
            process = subprocess.Popen([options.carat, "pull", "gemma3:1b"], env=environment)
            status, used = os.wait4(process.pid, 0)[1:]
            seconds = time.monotonic() - begin
            if status != 0:
                sys.exit(f"the pull failed ({status})")
            print(f"pull: {size / seconds / 1e9:.2f} GB/s ({seconds:.2f} s; user {used.ru_utime:.2f} s, system {used.ru_stime:.2f} s, "
                  f"at most {used.ru_maxrss / 1024:.0f} MiB)", flush=True)
        registry.close()
        shutil.rmtree(folder / "home")
        begin = time.monotonic()
        subprocess.run(["dd", "if=/dev/zero", f"of={folder}/x", "bs=1M", f"count={options.gib << 10}", "conv=fsync"], check=True,
                       stderr=subprocess.DEVNULL)
        print(f"dd conv=fsync: {size / (time.monotonic() - begin) / 1e9:.2f} GB/s")
        data = os.urandom(1 << 26)
        begin = time.monotonic()
        hashlib.sha256(data).digest()
        print(f"SHA-256 on one core: {len(data) / (time.monotonic() - begin) / 1e9:.2f} GB/s")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
