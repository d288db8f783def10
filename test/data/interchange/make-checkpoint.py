"""Writes a whole checkpoint of `float-quantized` (fp8, a scale a row) as transformers and compressed-tensors save it.

python make-checkpoint.py OUT

OUT gets config.json, model.safetensors and expected.json: the values of each tensor as the library decompresses them.
It needs torch, transformers and compressed-tensors.
"""
import hashlib
import json
import os
import sys

import compressed_tensors
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    QuantizationStatus,
    apply_quantization_config,
)
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(1)
out = sys.argv[1]
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=64, bos_token_id=0, eos_token_id=1,
    )
).to(torch.bfloat16)
weights = QuantizationArgs(num_bits=8, type="float", strategy="channel", symmetric=True, dynamic=False)
config = QuantizationConfig(
    config_groups={"group_0": QuantizationScheme(targets=["Linear"], weights=weights)},
    ignore=["lm_head", "model.layers.1.mlp.down_proj"],
    format="float-quantized",
)
apply_quantization_config(model, config)
for module in model.modules():
    if hasattr(module, "weight_scale"):
        largest = module.weight.detach().float().abs().amax(1, keepdim=True)
        module.weight_scale.data = (largest / 448).to(module.weight_scale.dtype)
        module.quantization_status = QuantizationStatus.FROZEN
compressor = ModelCompressor.from_pretrained_model(model, quantization_format="float-quantized")
compressor.compress_model(model)
model.save_pretrained(out)
compressor.update_config(out)
compressor.decompress_model(model)
expected = {}
for name, tensor in model.state_dict().items():
    if name.endswith("weight"):
        values = tensor.detach().float().contiguous() + 0.0
        expected[name] = hashlib.sha256(values.numpy().tobytes()).hexdigest()
version = f"compressed-tensors {compressed_tensors.__version__}"
with open(os.path.join(out, "expected.json"), "w") as file:
    json.dump({"made": version, "sha256_bf16_as_f32": expected}, file, indent=1)
