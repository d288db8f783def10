"""Perplexity of a checkpoint as other tools load it, in float32 on a CPU: a line of JSON for each path.

python checkpoint.py TEXT WINDOWS PATH...

A directory is loaded by transformers (with compressed-tensors, GPTQModel where its config asks for them), a GGUF file by
the package gguf, through transformers; `sparse-bitmask`, which no transformers since 4.50 loads, by compressed-tensors
alone. The text is tokenised whole by the checkpoint's own tokenizer and cut in windows
of 256 tokens, each after the token for the beginning; all 256 are scored.
"""
import json
import math
import os
import sys
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

torch.set_grad_enabled(False)


def load(path):
    """The model, and how it was loaded."""
    if path.endswith(".gguf"):
        directory, name = os.path.split(os.path.abspath(path))
        model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name, dtype=torch.float32)
        return model, "gguf, transformers"
    config = AutoConfig.from_pretrained(path)
    quantization = getattr(config, "quantization_config", None)
    method = None if quantization is None else quantization["quant_method"]
    options = {}
    if method == "compressed-tensors" and (quantization.get("sparsity_config") or {}).get("format") == "sparse-bitmask":
        return sparse_bitmask(path, config), "compressed-tensors alone"
    if method == "compressed-tensors":
        import inspect

        from transformers import CompressedTensorsConfig

        known = inspect.signature(CompressedTensorsConfig.__init__).parameters
        dequantize, value = ("dequantize", True) if "dequantize" in known else ("run_compressed", False)
        options["quantization_config"] = CompressedTensorsConfig(**{dequantize: value})
    if method in ("gptq", "awq"):
        from gptqmodel import BACKEND, GPTQModel

        # its layers compute in 16 bits only: float32 from their own unpacking on
        model = GPTQModel.load(path, device="cpu", backend=BACKEND.AUTO, dtype=torch.float16).model
        return dense(model), "GPTQModel"
    model, info = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, output_loading_info=True, **options
    )
    missing = [name for name in info["missing_keys"] if name != "lm_head.weight"]
    if missing:
        raise RuntimeError(f"loaded with random weights: {missing[:3]}")
    return model, "transformers" if method is None else f"transformers, {method}"


def sparse_bitmask(path, config):
    """The model of weights that the library decompresses, every one of which has to be among them."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.config import BitmaskConfig

    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, torch_dtype=torch.float32)
    compressor = BaseCompressor.load_from_registry("sparse-bitmask", config=BitmaskConfig(format="sparse-bitmask"))
    state = {name: weight.float() for name, weight in compressor.decompress(path)}
    found = model.load_state_dict(state, strict=False)
    missing = [name for name in found.missing_keys if name != "lm_head.weight"]
    if missing or found.unexpected_keys:
        raise RuntimeError(f"not the tensors of the model: {missing[:3]}, {found.unexpected_keys[:3]}")
    model.tie_weights()
    return model


def tokens(path):
    """The ids of the text, and that of the beginning."""
    if path.endswith(".gguf"):
        directory, name = os.path.split(os.path.abspath(path))
        tokenizer = AutoTokenizer.from_pretrained(directory, gguf_file=name)
        return tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.bos_token_id
    tokenizer = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    bos = AutoConfig.from_pretrained(path).bos_token_id
    return tokenizer.encode(text, add_special_tokens=False).ids, bos


def dense(model):
    """A model whose packed layers are replaced by what they unpack to."""
    model = model.float()
    for name, module in list(model.named_modules()):
        if not hasattr(module, "qweight"):
            continue
        weight = unpacked(module)
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight.data = weight.contiguous()
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, linear)
    return model


def unpacked(module):
    """The weight [outputs, inputs] of a layer, in float32."""
    module.scales = module.scales.float()
    if hasattr(module, "dequantize_weight"):
        return module.dequantize_weight().float().T
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

    return dequantize_gemm(module.qweight, module.qzeros, module.scales, module.bits, module.group_size).float().T


def perplexity(model, ids, bos, windows):
    total = count = 0
    for start in range(0, min(len(ids) // 256, windows) * 256, 256):
        window = torch.tensor([[bos, *ids[start : start + 256]]])
        logits = model(window).logits[0, :-1].double()
        total -= torch.log_softmax(logits, -1).gather(1, window[0, 1:, None]).sum().item()
        count += 256
    return math.exp(total / count)


text = open(sys.argv[1], encoding="utf-8").read()
for path in sys.argv[3:]:
    try:
        model, loader = load(path)
        ids, bos = tokens(path)
        result = {"loader": loader, "perplexity": perplexity(model.eval(), ids, bos, int(sys.argv[2]))}
    except Exception as error:  # one that cannot be loaded is a result, too
        result = {"error": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps({"path": path, **result}), flush=True)
