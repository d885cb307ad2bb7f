"""Writes dequant.bin: random blocks of every tensor type and their values by PyPI's `gguf`, which shares nothing with Carat.

    python3 -m venv v && v/bin/pip install gguf==0.19.0 && v/bin/python make_dequant.py

Records of: type name (8 bytes, zero-padded), u32 bytes of blocks, u32 elements, the blocks, the floats (little-endian).
The scales are finite halves of both signs, subnormal and zero ones among them; every other bit is random.
"""

import pathlib

import numpy as np
from gguf import GGMLQuantizationType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

# Where a block's halves are (byte offsets): d, and the minimum where there is one.
HALVES = {
    "F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
}
ELEMENTS = 1024


def random_halves(random, count):
    halves = (random.standard_normal(count) * 0.02).astype(np.float16)
    halves[::5] = random.integers(0, 0x7C00, len(halves[::5]), dtype=np.uint16).view(np.float16)  # any finite one
    halves[1::7] = random.integers(0x8000, 0x8400, len(halves[1::7]), dtype=np.uint16).view(np.float16)  # negative subnormals
    halves[2::11] = 0
    return halves


def random_blocks(random, name):
    block_elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    count = ELEMENTS // block_elements
    if name == "F32":
        return random.standard_normal(count).astype(np.float32).view(np.uint8)
    if name == "BF16":
        return (random.standard_normal(count).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    blocks = random.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    for offset in HALVES[name]:
        blocks[:, offset:offset + 2] = random_halves(random, count).view(np.uint8).reshape(count, 2)
    return blocks.reshape(-1)


def main():
    random = np.random.default_rng(270)
    with open(pathlib.Path(__file__).parent / "dequant.bin", "wb") as out:
        for name in ["F32", "BF16", *HALVES]:
            blocks = random_blocks(random, name)
            values = dequantize(blocks, GGMLQuantizationType[name]).astype(np.float32).reshape(-1)
            assert len(values) == ELEMENTS and np.isfinite(values).all(), name
            out.write(name.encode().ljust(8, b"\0"))
            out.write(np.array([blocks.nbytes, len(values)], np.uint32).tobytes())
            out.write(blocks.tobytes())
            out.write(values.tobytes())


main()
