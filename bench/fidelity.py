"""How far `carat eval` is from exact float32 arithmetic on the weights of the real 270M.

    python bench/fidelity.py kl MODEL.gguf [--carat build/carat] [options of carat eval]
        mean and 99th percentile of the KL divergence of next-token distributions, over the text of
        tests/golden/270m/multilingual.jsonl (its text is beside it); needs numpy and gguf from PyPI and 3 GB of memory
    python bench/fidelity.py golden MODEL.gguf [--carat build/carat] [options of carat eval]
        greedy continuations and top-20 log-probabilities against tests/golden/270m/golden.jsonl; needs nothing;
        exits with 1 if a greedy token before a true tie differs
    python bench/fidelity.py widen MODEL.gguf OUT.gguf bf16|f16
        the same model with 16-bit weights, for `kl`: dequantised, and moved by 2 % of their row's standard deviation at
        random, so that they are of as many sizes as weights that never were quantised

Options that this script does not know go to `carat eval`: --backend cpu/avx2, --threads 2.
Both print one JSON object.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "270m"
BLOCK = 64  # rows of logits (64 MiB) at a time


def carat_eval(arguments, lines, options):
    """Runs `carat eval` on lines of JSON; returns its answers."""
    done = subprocess.run(
        [arguments.carat, "eval", arguments.model, *arguments.options, *options],
        input="".join(json.dumps(line) + "\n" for line in lines), stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def kl(arguments):
    import numpy as np

    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from gemma3_numpy import Gemma3, log_softmax

    ids = json.loads((GOLDEN / "multilingual.jsonl").read_text())["ids"]
    with tempfile.TemporaryDirectory() as folder:
        logits_file = pathlib.Path(folder) / "logits.npy"
        carat_eval(arguments, [{"ids": ids}], ["--prompt-logprobs", "--logits", str(logits_file)])
        logits = np.load(logits_file, mmap_mode="r")
        exact = Gemma3(arguments.model)
        hidden = exact.forward(ids)
        assert logits.shape == (len(ids), 262144), f"logits have the shape {logits.shape}"
        divergences, same = [], 0
        for begin in range(0, len(ids), BLOCK):
            expected = log_softmax(exact.logits(hidden[begin:begin + BLOCK]))
            actual = log_softmax(logits[begin:begin + BLOCK])
            divergences.append((np.exp(expected) * (expected - actual)).sum(axis=-1))
            same += int((expected.argmax(axis=-1) == actual.argmax(axis=-1)).sum())
    divergences = np.concatenate(divergences)
    return {"tokens": len(ids), "mean_kl": float(divergences.mean()), "p99_kl": float(np.quantile(divergences, 0.99)),
            "worst_kl": float(divergences.max()), "same_top1": same / len(ids)}, True


def widen(model, out, kind):
    import gguf
    import numpy as np
    from gguf.quants import dequantize, quantize

    to = {"bf16": gguf.GGMLQuantizationType.BF16, "f16": gguf.GGMLQuantizationType.F16}[kind]
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(out, "gemma3")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        sub = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub)
    random = np.random.default_rng(1)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
            continue
        values += 0.02 * values.std(axis=-1, keepdims=True) * random.standard_normal(values.shape, dtype=np.float32)
        writer.add_tensor(tensor.name, quantize(values, to), raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def golden(arguments):
    prompts = [json.loads(line) for line in (GOLDEN / "golden.jsonl").read_text().splitlines()]
    answers = carat_eval(arguments, [{"ids": p["ids"]} for p in prompts], ["--generate", "64", "--top", "20"])
    squares, count, worst, wrong = 0.0, 0, 0.0, []
    for prompt, answer in zip(prompts, answers, strict=True):
        decided = prompt["ties"][0] if prompt["ties"] else len(prompt["greedy"])
        for position in range(decided):
            top = dict(answer["top"][position])
            for token, expected in zip(prompt["top_ids"][position], prompt["top_logprobs"][position], strict=True):
                if token in top:
                    error = abs(top[token] - expected)
                    squares, count, worst = squares + error * error, count + 1, max(worst, error)
            if answer["greedy"][position] != prompt["greedy"][position]:
                wrong.append({"prompt": prompt["name"], "position": position, "margin": prompt["margins"][position]})
                break  # what follows has another past
    return {"prompts": len(prompts), "agree": len(prompts) - len(wrong), "wrong": wrong,
            "logprob_rms": math.sqrt(squares / count), "logprob_worst": worst}, not wrong


def main():
    if sys.argv[1:2] == ["widen"]:
        return widen(*sys.argv[2:5])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=["kl", "golden"])
    parser.add_argument("model", metavar="MODEL.gguf")
    parser.add_argument("--carat", default=str(ROOT / "build" / "carat"))
    arguments, arguments.options = parser.parse_known_args()
    result, good = {"kl": kl, "golden": golden}[arguments.measure](arguments)
    print(json.dumps({"measure": arguments.measure, "options": arguments.options, **result}))
    sys.exit(0 if good else 1)


main()
