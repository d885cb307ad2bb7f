#!/usr/bin/env python3
"""What a decoded weight costs on an Arm core, counted in the compiled code: for each type, the innermost loop of its
matrix-vector product (a block of 32 columns x 16 rows a turn).

    bench/arm_cycles.py build-arm64 [--isa neon|neon_i8mm] [--cores 6] [--ghz 1.728] [--gbs 102.4] [--check]

Two bounds on the cycles of a turn of a Cortex-A78AE: "pipes" is its vector instructions over its two vector pipes (what a
core six instructions wide comes to when nothing waits), "mca" is llvm-mca-14 -mcpu=cortex-a78, whose model is the
narrower Cortex-A57's (three a cycle, a load of 16 bytes every other cycle). "needs" is the bandwidth at which the bytes of
a turn take as long as its cycles on all cores. The last line is a PREDICTION for Gemma 3 1B, nothing measured: each tensor
takes its cycles or its bytes, whichever is more; attention, barriers and what a memory really gives are left out. --check fails where the code got worse than what SPEED.md says.
"""
import argparse
import pathlib
import re
import subprocess
import sys

TYPES = {3: "Q4_0", 4: "Q4_1", 5: "Q5_0", 6: "Q5_1", 7: "Q8_0", 8: "Q2_K", 9: "Q3_K", 10: "Q4_K", 11: "Q5_K", 12: "Q6_K", 13: "IQ4_NL", 14: "IQ4_XS"}
WEIGHTS = 32 * 16
# Bytes of a turn: 64 for each bit of the integers; scales as packed.h has them, the super-block's header shared by eight turns.
BITS = {"Q4_0": 4, "Q4_1": 4, "Q5_0": 5, "Q5_1": 5, "Q8_0": 8, "Q2_K": 2, "Q3_K": 3, "Q4_K": 4, "Q5_K": 5, "Q6_K": 6, "IQ4_NL": 4, "IQ4_XS": 4}
SCALES = {"Q4_0": 32, "Q4_1": 64, "Q5_0": 32, "Q5_1": 64, "Q8_0": 32, "Q2_K": 64 + 8, "Q3_K": 32 + 4, "Q4_K": 32 + 8, "Q5_K": 32 + 8, "Q6_K": 32 + 4,
          "IQ4_NL": 32, "IQ4_XS": 16 + 4}
# Vector instructions a weight that --check allows: a few per cent above what GCC 12 makes of it.
MOST = {"neon": {"Q4_0": 0.235, "Q8_0": 0.225}, "neon_i8mm": {"Q4_0": 0.20, "Q8_0": 0.19}}

# Weights of Gemma 3 1B: 26 layers, and the head.
MODEL = {"Q4_0": 26 * (1152 * (1024 + 256 + 256) + 1024 * 1152 + 3 * 1152 * 6912), "Q8_0": 262144 * 1152}


def functions(path):
    """{type: [(address, text)]} of matvec_panel<type, 1>."""
    listing = subprocess.run(["aarch64-linux-gnu-objdump", "--disassemble", "--demangle", "--no-show-raw-insn", path], check=True, capture_output=True,
                             text=True).stdout
    found = {}
    current = None
    for line in listing.splitlines():
        if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            name = re.search(r"matvec_panel<\(carat::DType\)(\d+), 1>", header[1])
            current = found.setdefault(TYPES[int(name[1])], []) if name and int(name[1]) in TYPES else None
        elif current is not None and (code := re.match(r"\s*([0-9a-f]+):\t(.*)", line)):
            current.append((int(code[1], 16), re.sub(r"\s*//.*", "", code[2]).replace("\t", " ")))
    return found


def hot_loop(code):
    """The shortest backward jump's body that holds the products."""
    best = None
    for index, (address, text) in enumerate(code):
        jump = re.match(r"(?:b\.\w+|cbn?z \w+,|b) ([0-9a-f]+) <", text)
        if not jump or int(jump[1], 16) > address:
            continue
        body = [t for a, t in code[:index + 1] if a >= int(jump[1], 16)]
        if sum(bool(re.match(r"[su]?s?dot|smmla", t)) for t in body) >= 32 and (best is None or len(body) < len(best)):
            best = body
    return best


def is_vector(text):
    """Whether it takes a vector pipe: works on v registers and is no load, store or plain move of a register."""
    return bool(re.search(r"\bv\d+\.", text)) and not re.match(r"(ld|st|mov v\d+\.16b, v\d+\.16b$)", text)


def mca_cycles(body):
    code = [t for t in body if not re.match(r"(b\b|b\.|cbn?z|prfm)", t)]
    text = "\n".join(re.sub(r"<.*?>", "", t) for t in code)
    out = subprocess.run(["llvm-mca-14", "-mtriple=aarch64", "-mcpu=cortex-a78", "-mattr=+dotprod,+i8mm", "-iterations=100"], input=text, capture_output=True, text=True)
    found = re.search(r"Total Cycles:\s+(\d+)", out.stdout)
    return int(found[1]) / 100 if found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--isa", default="neon", choices=["neon", "neon_i8mm"])
    parser.add_argument("--cores", type=int, default=6)
    parser.add_argument("--ghz", type=float, default=1.728)
    parser.add_argument("--gbs", type=float, default=102.4)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    found = functions(arguments.build / f"src/backend/CMakeFiles/carat_backend_cpu.dir/cpu/isa_{arguments.isa}.cc.o")
    print(f"cpu/{arguments.isa}, {arguments.cores} cores of {arguments.ghz} GHz, {arguments.gbs} GB/s")
    print("type    instr/weight  vector/weight  pipes  mca    bytes  memory  needs GB/s (pipes, mca)")
    failed = False
    seconds = {"pipes": 0.0, "mca": 0.0}
    for name, code in found.items():
        body = hot_loop(code)
        if body is None:
            print(f"{name}: no loop found")
            failed = True
            continue
        vector = sum(map(is_vector, body))
        pipes = vector / 2
        mca = mca_cycles(body)
        size = 64 * BITS[name] + SCALES[name]
        memory = size / (arguments.gbs / arguments.cores / arguments.ghz)  # cycles that the bytes take
        rate = arguments.cores * arguments.ghz * size
        print(f"{name:7} {len(body) / WEIGHTS:12.3f} {vector / WEIGHTS:14.3f} {pipes:6.1f} {mca or 0:6.1f} {size:6} {memory:7.1f}"
              f" {rate / pipes:8.1f} {rate / mca if mca else 0:8.1f}")
        for bound, cycles in (("pipes", pipes), ("mca", mca or 0)):
            if name in MODEL:
                seconds[bound] += MODEL[name] / WEIGHTS * max(cycles, memory) / (arguments.cores * arguments.ghz * 1e9)
        if arguments.check and vector / WEIGHTS > MOST[arguments.isa].get(name, 9):
            print(f"{name}: more vector instructions than {MOST[arguments.isa][name]} a weight")
            failed = True
    print(f"predicted, 1B with Q4_0 layers and a Q8_0 head: {1 / seconds['mca']:.0f} (mca) to {1 / seconds['pipes']:.0f} (pipes) tok/s")
    return 1 if failed or len(found) != len(TYPES) else 0


if __name__ == "__main__":
    sys.exit(main())
