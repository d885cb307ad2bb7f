"""Carat beside llama.cpp on this machine, and beside what the machine can do: ./dev bench peers

    ./dev bench peers [--shape 1b] [--types q4_0,q4_k_m,q5_0,q6_K,q8_0,f16,bf16] [--rounds 3] [--threads N]
                      [--prompt 512] [--generate 64] [--out build/peers/results]

llama.cpp comes as the source package llama-cpp-python from PyPI (once, into build/peers) and is built natively. Models are of
random weights (`carat synth`). In every round each engine runs each model once, one after the other, and the machine's
limits are measured anew (bench/roofline.cc). Prints a table of medians with (least-most), writes OUT.json and OUT.svg.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOME = ROOT / "build" / "peers"
PACKAGE = "llama-cpp-python==0.3.36"
# Weights that multiply every token of a prompt: all but the embedding, which the head shares.
MULTIPLIED = {"270m": 100_270_080, "1b": 697_761_792, "4b": 3_208_642_560}


def say(*text):
    print("peers:", *text, file=sys.stderr, flush=True)


def build_llama(native):
    """llama-bench, built from PyPI's source package; its path."""
    source = HOME / "source"
    if not source.exists():
        say("fetching", PACKAGE)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--no-binary", ":all:", "--dest", HOME, PACKAGE], check=True)
        package = next(HOME.glob("llama_cpp_python-*.tar.gz"))
        unpacked = HOME / "unpacked"
        unpacked.mkdir(exist_ok=True)
        subprocess.run(["tar", "xzf", package, "-C", unpacked, "--strip-components", "1"], check=True)
        unpacked.rename(source)
    build = HOME / ("native" if native else "avx512")
    bench = build / "bin" / "llama-bench"
    if not bench.exists():
        say("building llama.cpp", "natively" if native else "for AVX-512, by name", "(minutes, once)")
        options = ["GGML_NATIVE=ON"] if native else [
            "GGML_NATIVE=OFF", "GGML_AVX2=ON", "GGML_FMA=ON", "GGML_F16C=ON", "GGML_BMI2=ON", "GGML_AVX512=ON",
            "GGML_AVX512_VBMI=ON", "GGML_AVX512_VNNI=ON", "GGML_AVX512_BF16=ON"]
        options += ["CMAKE_BUILD_TYPE=Release", "BUILD_SHARED_LIBS=OFF", "LLAMA_CURL=OFF", "LLAMA_OPENSSL=OFF",
                    "LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_BUILD_SERVER=OFF"]
        log = HOME / "build.log"
        with log.open("w") as out:
            for command in (["cmake", "-G", "Ninja", "-S", source / "vendor" / "llama.cpp", "-B", build,
                             *("-D" + option for option in options)], ["ninja", "-C", build, "llama-bench"]):
                if subprocess.run(command, stdout=out, stderr=out).returncode != 0:
                    sys.exit(f"peers: llama.cpp does not build: {log}")
    return bench


def working_llama(model, threads):
    """On virtual machines that show AMX and refuse it, the native build dies: then one without."""
    for native in (True, False):
        bench = build_llama(native)
        if subprocess.run([bench, "-m", model, "-p", "8", "-n", "1", "-r", "1", "-t", str(threads)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return bench
        say("llama-bench of", bench.parent.parent.name, "does not run here")
    sys.exit("peers: llama.cpp does not run on this machine")


def run_json(command):
    return json.loads(subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, text=True).stdout)


def carat(arguments, model, backend=None):
    out = run_json([arguments.carat, "bench", model, "--json", "-r", 1, "-p", arguments.prompt, "-n", arguments.generate,
                    "--threads", arguments.threads, *(["--backend", backend] if backend else ["--backend", "cpu"])])
    return {"prefill": out["prefill_tokens_per_second"], "decode": out["decode_tokens_per_second"],
            "of_bandwidth": out["decode_tokens_per_second"] * out["bytes_per_decoded_token"] / out["read_bandwidth"],
            "bytes_per_token": out["bytes_per_decoded_token"], "peak_resident_bytes": out["peak_resident_bytes"],
            "weight_bytes": out["weight_bytes"]}


def llama(bench, arguments, model):
    results = run_json([bench, "-m", model, "-o", "json", "-r", 1, "-p", arguments.prompt, "-n", arguments.generate,
                        "-t", arguments.threads])
    return {("prefill" if r["n_gen"] == 0 else "decode"): r["avg_ts"] for r in results}


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def text(value):
    digits = 0 if value["median"] >= 100 else 1
    return "{:.{d}f} ({:.{d}f}-{:.{d}f})".format(value["median"], value["least"], value["most"], d=digits)


def table(result):
    lines = ["| | Carat prefill | of the int16 peak | llama.cpp | ratio | Carat decode | of the bandwidth | llama.cpp | ratio |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, row in result["models"].items():
        lines.append("| {} | {} | {:.0f} % | {} | {:.2f} | {} | {:.0f} % | {} | {:.2f} |".format(
            name, text(row["carat"]["prefill"]), 100 * row["of_peak"], text(row["llama.cpp"]["prefill"]),
            row["carat"]["prefill"]["median"] / row["llama.cpp"]["prefill"]["median"], text(row["carat"]["decode"]),
            100 * row["of_bandwidth"], text(row["llama.cpp"]["decode"]),
            row["carat"]["decode"]["median"] / row["llama.cpp"]["decode"]["median"]))
    return "\n".join(lines)


def plot(result):
    """Bars of tokens a second, Carat's dark, and the machine's limit as a line: an SVG."""
    names = list(result["models"])
    out = []
    for column, (test, limit) in enumerate((("prefill", "prefill_limit"), ("decode", "decode_limit"))):
        left, top, width, bar = 70 + column * 380, 50, 280, 14
        most = max(max(row[limit], row["llama.cpp"][test]["most"], row["carat"][test]["most"])
                   for row in result["models"].values())
        out.append(f'<text x="{left}" y="30" font-weight="bold">{test}, tokens a second</text>')
        for i, name in enumerate(names):
            row, y = result["models"][name], top + i * 46
            out.append(f'<text x="{left - 8}" y="{y + 19}" text-anchor="end">{name}</text>')
            for j, (engine, colour) in enumerate((("carat", "#b3541e"), ("llama.cpp", "#a9b4bd"))):
                value = row[engine][test]["median"]
                length = width * value / most
                out.append(f'<rect x="{left}" y="{y + j * bar}" width="{length:.1f}" height="{bar - 2}" fill="{colour}"/>')
                out.append(f'<text x="{left + length + 4:.1f}" y="{y + j * bar + 10}" font-size="10">{value:.0f}</text>')
            x = left + width * row[limit] / most
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + 2 * bar}" stroke="black"/>')
    height = 70 + 46 * len(names)
    caption = f'{result["machine"]}, {result["threads"]} threads; Carat above, llama.cpp below, lines: int16 peak, read bandwidth'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" font-family="sans-serif" font-size="12">'
            f'<rect width="760" height="{height}" fill="white"/>{"".join(out)}'
            f'<text x="20" y="{height - 8}" font-size="10">{caption}</text></svg>\n')


def machine():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="1b", choices=list(MULTIPLIED))
    parser.add_argument("--types", default="q4_0,q4_k_m,q5_0,q6_K,q8_0,f16,bf16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--out", type=pathlib.Path, default=HOME / "results")
    parser.add_argument("--carat", type=pathlib.Path, default=ROOT / "build" / "carat")
    arguments = parser.parse_args()
    HOME.mkdir(parents=True, exist_ok=True)

    models = {}
    for kind in arguments.types.split(","):
        model = HOME / f"{arguments.shape}-{kind}.gguf"
        if not model.exists():
            say("writing", model.name)
            subprocess.run([arguments.carat, "synth", arguments.shape, "--type", kind, model], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        models[kind] = model
    bench = working_llama(next(iter(models.values())), arguments.threads)

    limits, runs = [], {kind: {"carat": [], "llama.cpp": []} for kind in models}
    for round_number in range(arguments.rounds):
        for kind, model in models.items():
            say(f"round {round_number + 1} of {arguments.rounds}: {kind}")
            limits.append(run_json([ROOT / "build" / "roofline", arguments.threads]))
            runs[kind]["carat"].append(carat(arguments, model))
            runs[kind]["llama.cpp"].append(llama(bench, arguments, model))

    peaks = {name: spread([limit["multiply_adds_per_second"][name] for limit in limits])
             for name in limits[0]["multiply_adds_per_second"]}
    result = {"machine": machine(), "threads": arguments.threads, "shape": arguments.shape, "prompt": arguments.prompt,
              "generate": arguments.generate, "rounds": arguments.rounds, "peaks": peaks,
              "read_bytes_per_second": spread([limit["read_bytes_per_second"] for limit in limits]),
              "barrier_nanoseconds": spread([limit["barrier_nanoseconds"] for limit in limits]), "models": {}, "runs": runs}
    # What the exact arithmetic of rounded weights is made of here; without these instructions, floats.
    peak = next(peaks[name]["median"] for name in ("int16", "int16_avx2", "fp32_avx2", "fp32") if name in peaks) if peaks else 0
    for kind, engines in runs.items():
        row = {engine: {test: spread([run[test] for run in engines[engine]]) for test in ("prefill", "decode")}
               for engine in engines}
        row["prefill_limit"] = peak / MULTIPLIED[arguments.shape]
        row["decode_limit"] = result["read_bytes_per_second"]["median"] / engines["carat"][0]["bytes_per_token"]
        row["of_peak"] = row["carat"]["prefill"]["median"] / row["prefill_limit"] if peak else 0
        row["of_bandwidth"] = statistics.median(run["of_bandwidth"] for run in engines["carat"])
        result["models"][kind] = row
    arguments.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    arguments.out.with_suffix(".svg").write_text(plot(result))
    print(table(result))
    print("peaks, G multiply-adds a second:", ", ".join(f"{name} {text({k: v / 1e9 for k, v in value.items()})}"
                                                       for name, value in peaks.items()))
    print("reads", text({k: v / 1e9 for k, v in result["read_bytes_per_second"].items()}), "GB/s; a barrier takes",
          text(result["barrier_nanoseconds"]), "ns;", result["machine"], arguments.threads, "threads")


main()
