"""Files of llama.cpp's own mixes, Q4_K_M and Q5_K_M, of a small model, and what the package gguf decodes them to.

python mixes.py LIBRARIES MODEL OUT

LIBRARIES is the folder with libllama.so of any build, such as node-llama-cpp's; MODEL is classics-3.7m. The model is the
first two blocks of it, with 256 of the 768 channels of the feed-forward layers and the first 128 rows of the embedding:
rows of 256 columns are what k-quants take. It has no use but its tensors.
"""
import ctypes
import glob
import hashlib
import json
import os
import sys

import gguf
import numpy as np
from gguf import GGUFReader, GGUFWriter
from safetensors import safe_open

libraries, model, out = sys.argv[1:4]
hidden, heads, groups, channels, rows, blocks = 256, 8, 4, 256, 128, 2


def tensors():
    with safe_open(os.path.join(model, "model.safetensors"), framework="pt") as file:
        read = lambda name: file.get_tensor(name).float().numpy()
        yield "token_embd.weight", read("model.embed_tokens.weight")[:rows]
        yield "output_norm.weight", read("model.norm.weight")
        for at in range(blocks):
            of = lambda name: read(f"model.layers.{at}.{name}.weight")
            yield f"blk.{at}.attn_norm.weight", of("input_layernorm")
            yield f"blk.{at}.ffn_norm.weight", of("post_attention_layernorm")
            for name, count in ("q", heads), ("k", groups):
                w = of(f"self_attn.{name}_proj")
                half = w.shape[0] // count // 2
                # llama.cpp has the halves of a head interleaved
                w = w.reshape(count, 2, half, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
                yield f"blk.{at}.attn_{name}.weight", w
            yield f"blk.{at}.attn_v.weight", of("self_attn.v_proj")
            yield f"blk.{at}.attn_output.weight", of("self_attn.o_proj")
            yield f"blk.{at}.ffn_gate.weight", of("mlp.gate_proj")[:channels]
            yield f"blk.{at}.ffn_up.weight", of("mlp.up_proj")[:channels]
            yield f"blk.{at}.ffn_down.weight", of("mlp.down_proj")[:, :channels]


def hugging_face(name):
    """The name that Hugging Face has for a tensor, and how many heads its rows are of where they change places."""
    fixed = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    stem = name.removesuffix(".weight")
    if stem in fixed:
        return f"{fixed[stem]}.weight", None
    _, at, part = stem.split(".")
    names = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    return f"model.layers.{at}.{names[part]}.weight", {"attn_q": heads, "attn_k": groups}.get(part)


def write(path):
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(channels)
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(rows)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{at}" for at in range(rows)])
    writer.add_token_types([gguf.TokenType.NORMAL] * rows)
    writer.add_token_merges(["t 0"])
    for name, values in tensors():
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# llama_model_quantize_params begins with the threads and the type of the file
class Params(ctypes.Structure):
    _fields_ = [("nthread", ctypes.c_int32), ("ftype", ctypes.c_int32), ("rest", ctypes.c_uint8 * 256)]


for name in "libggml-base.so", "libggml.so", "libllama.so":
    library = ctypes.CDLL(sorted(glob.glob(os.path.join(libraries, name.replace(".so", "*.so*"))))[0], mode=ctypes.RTLD_GLOBAL)
library.llama_model_quantize_default_params.restype = Params
library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
library.llama_backend_init()
whole = os.path.join(out, "whole.gguf")
write(whole)
made = {}
for mix, ftype in ("q4_k_m", 15), ("q5_k_m", 17):
    path = os.path.join(out, f"mix-{mix}.gguf")
    params = library.llama_model_quantize_default_params()
    params.nthread, params.ftype = 1, ftype
    if library.llama_model_quantize(whole.encode(), path.encode(), ctypes.byref(params)) != 0:
        raise SystemExit("not quantised")
    found = {}
    for tensor in GGUFReader(path).tensors:
        kind = tensor.tensor_type
        values = tensor.data if kind.name == "F32" else gguf.dequantize(tensor.data, kind)
        values = np.ascontiguousarray(values, dtype="<f4") + np.float32(0)  # no -0.0
        name, count = hugging_face(tensor.name)
        if count is not None:
            half = values.shape[0] // count // 2
            values = values.reshape(count, half, 2, -1).swapaxes(1, 2).reshape(values.shape)
        found[name] = {
            "type": kind.name,
            "shape": [int(size) for size in reversed(tensor.shape)],
            "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
            "last": [float(value) for value in values.reshape(-1)[-4:]],
        }
    made[f"mix-{mix}"] = found
os.remove(whole)
json.dump(made, open(os.path.join(out, "mixes.json"), "w"), indent=1)
