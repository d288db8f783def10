"""Blocks of types of GGUF and what the package gguf (0.19.0) decodes them to: random bytes, with scales that f16 holds."""
import hashlib, json, sys
import gguf
import numpy as np
from gguf import GGMLQuantizationType as T, quants

rng = np.random.default_rng(7)
halves = {"Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "IQ4_NL": [0]}
made = {}
for name, places in halves.items():
    columns, size = gguf.GGML_QUANT_SIZES[T[name]]
    count = 6 if columns == 32 else 3
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    # the ends of every range
    blocks[0], blocks[1] = 255, 0
    for place in places:
        scale = (rng.standard_normal(count) * 0.05).astype(np.float16)
        blocks[:, place : place + 2] = scale.view(np.uint8).reshape(count, 2)
    values = quants.dequantize(blocks.reshape(-1), T[name]).astype("<f4").reshape(-1)
    values = values + np.float32(0)  # no -0.0
    made[name.lower()] = {
        "blocks": blocks.tobytes().hex(),
        "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
        "last": [float(value) for value in values[-4:]],
    }
json.dump(made, open(sys.argv[1], "w"), indent=1)
