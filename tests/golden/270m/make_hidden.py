"""Writes hidden.bin: final-normed hidden states of exact float32 arithmetic on the real Gemma 3 270M.

    python make_hidden.py gemma-3-270m-q4_k_m.gguf > hidden.bin

Needs numpy and gguf from PyPI, about 2 GB of memory and a minute. float32 [64][640]: every 15th position of
multilingual.jsonl, from 14 on. A test multiplies them with the embedding, and has what a model would say exactly.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "support"))
from gemma3_numpy import Gemma3  # noqa: E402

ids = json.loads((HERE / "multilingual.jsonl").read_text())["ids"]
sys.stdout.buffer.write(Gemma3(sys.argv[1]).forward(ids)[14::15][:64].astype("<f4").tobytes())
