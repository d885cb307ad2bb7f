"""Writes golden.jsonl: what exact float32 arithmetic makes of the real Gemma 3 270M.

    python make_golden.py gemma-3-270m-q4_k_m.gguf tokenizer.json > golden.jsonl

Needs numpy, gguf and tokenizers from PyPI, about 2 GB of memory and ten minutes. A line per prompt:
  name, ids (BOS first), greedy (64 ids), margins (top-1 minus top-2 logit at each of them), ties (indices whose margin
  is below 1e-3: a float32 sum in another order may choose otherwise there, so a comparison ends before the first),
  top_ids and top_logprobs: the 20 best at each of the 64 positions, [0] being that of the last prompt token.
"""

import json
import pathlib
import sys

import numpy as np
from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "support"))
from gemma3_numpy import Gemma3, log_softmax  # noqa: E402

GENERATED = 64
TOP = 20
TIE = 1e-3


def read_prompts(tokenizer):
    for line in (HERE / "prompts.jsonl").read_text(encoding="utf-8").splitlines():
        prompt = json.loads(line)
        text = prompt.get("text")
        if text is None:
            text = "\n".join((HERE / "text" / name).read_text(encoding="utf-8") for name in prompt["files"])
        ids = [2] + tokenizer.encode(text, add_special_tokens=False).ids
        wanted = prompt.get("tokens", len(ids))
        assert len(ids) >= wanted, f"{prompt['name']}: {len(ids)} tokens, {wanted} wanted"
        yield prompt["name"], ids[:wanted]


def six_digits(values):
    return [float(f"{value:.6g}") for value in values]


def golden(model, ids):
    """Greedy continuation of ids; generation goes on over end-of-text, so every prompt gives 64 positions."""
    model.reset()
    result = {"greedy": [], "margins": [], "ties": [], "top_ids": [], "top_logprobs": []}
    pending = ids
    for step in range(GENERATED):
        logits = model.logits(model.forward(pending)[-1:])[0]
        best = np.argsort(-logits, kind="stable")[:TOP]
        margin = float(logits[best[0]]) - float(logits[best[1]])
        if margin < TIE:
            result["ties"].append(step)
        result["greedy"].append(int(best[0]))
        result["margins"] += six_digits([margin])
        result["top_ids"].append([int(i) for i in best])
        result["top_logprobs"].append(six_digits(log_softmax(logits)[best]))
        pending = [int(best[0])]
    return result


def main():
    model = Gemma3(sys.argv[1])
    tokenizer = Tokenizer.from_file(sys.argv[2])
    for name, ids in read_prompts(tokenizer):
        line = {"name": name, "ids": ids, **golden(model, ids)}
        print(json.dumps(line, separators=(",", ":")), flush=True)
        print(f"{name}: {len(ids)} tokens, ties at {line['ties']}", file=sys.stderr, flush=True)


main()
