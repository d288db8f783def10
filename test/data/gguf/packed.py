"""Blocks as llama.cpp packs them: values and the bytes that its own quantiser makes of them.

python packed.py LIBGGML_BASE MODEL OUT

LIBGGML_BASE is libggml-base.so of any build, such as node-llama-cpp's. Packs the weights of MODEL, too, and prints a hash.
"""
import ctypes
import hashlib
import json
import os
import sys

import numpy as np
from safetensors.torch import load_file

library = ctypes.CDLL(sys.argv[1])
quantize = library.quantize_row_q4_K_ref
quantize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]


def packed(values):
    values = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    out = np.zeros(values.size // 256 * 144, dtype=np.uint8)
    quantize(values.ctypes.data, out.ctypes.data, values.size)
    return out


rng = np.random.default_rng(11)
weights = load_file(os.path.join(sys.argv[2], "model.safetensors"))
rows = weights["model.layers.0.mlp.up_proj.weight"].float().numpy()
blocks = np.stack(
    [
        rows[0, :256],
        rows[700, :256],
        rng.standard_normal(256) * 0.02,
        np.abs(rng.standard_normal(256)) + 1,
        -np.abs(rng.standard_normal(256)) * 1e-6,
        rng.standard_normal(256) * np.repeat(2.0 ** np.arange(-6, 10, 2), 32),
        np.full(256, 0.25),
        np.where(np.arange(256) == 100, 60.0, 0.001 * np.arange(256)),
        np.zeros(256),
    ]
).astype(np.float32)
json.dump(
    {"values": blocks.tobytes().hex(), "blocks": packed(blocks).tobytes().hex()}, open(sys.argv[3], "w"), indent=1
)
digest = hashlib.sha256()
for name in sorted(weights):
    if name.endswith("_proj.weight"):
        digest.update(packed(weights[name].float().numpy()).tobytes())
print(digest.hexdigest())
