"""Writes the layers that no checkpoint is cut for: a linear layer of the small model by each of these libraries.

python make.py MODEL OUT [NAME...]

OUT gets a file of safetensors for each, and `made.json` with what `layers.json` holds of them. It needs torch,
safetensors, bitsandbytes, compressed-tensors, gptqmodel; for `ct-fp8-24` compressed-tensors 0.14.0.1 (`bench/clients/formats`
has both environments); for `awq-int4-g64-gemv` AutoAWQ 0.2.9, whose files need not be installed (PYTHONPATH).
"""
import hashlib
import json
import os
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

torch.manual_seed(1)
module = "model.layers.0.self_attn.k_proj"


def expected(weight):
    # -0 is 0
    weight = weight.detach().float().contiguous() + 0.0
    flat = weight.flatten()
    return {
        "mean": flat.double().mean().item(),
        "sum_abs": flat.double().abs().sum().item(),
        "zeros": int((flat == 0).sum()),
        "first8": flat[:8].tolist(),
        "last8": flat[-8:].tolist(),
        "sha256_f32le": hashlib.sha256(flat.numpy().tobytes()).hexdigest(),
    }


def four_bits(weight, kind, nested):
    import bitsandbytes as bnb

    from bitsandbytes.functional import dequantize_4bit

    param = bnb.nn.Params4bit(
        weight, quant_type=kind, blocksize=64, compress_statistics=nested, quant_storage=torch.uint8
    ).to("cpu")
    param = param._quantize("cpu") if param.quant_state is None else param
    state = param.quant_state
    tensors = {"weight": param.data}
    tensors.update({f"weight.{key}": value for key, value in state.as_dict(packed=True).items()})
    state.dtype = torch.float32
    config = {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "load_in_8bit": False,
        "_load_in_4bit": True,
        "_load_in_8bit": False,
        "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_quant_type": kind,
        "bnb_4bit_use_double_quant": nested,
        "llm_int8_skip_modules": None,
    }
    return tensors, dequantize_4bit(param.data, state), config, f"bitsandbytes {bnb.__version__}"


def eight_bits(weight):
    import bitsandbytes as bnb

    linear = bnb.nn.Linear8bitLt(weight.shape[1], weight.shape[0], bias=False, has_fp16_weights=False)
    linear.weight = bnb.nn.Int8Params(weight.half(), requires_grad=False, has_fp16_weights=False).to("cpu")
    if linear.weight.SCB is None:
        linear.weight._quantize("cpu")
    linear(torch.zeros(1, weight.shape[1], dtype=torch.float16))
    tensors = {key: value.detach().clone() for key, value in linear.state_dict().items()}
    scale = tensors["SCB"].float().unsqueeze(1).mul(1.0 / 127.0)
    config = {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True, "llm_int8_threshold": 6.0}
    return tensors, tensors["weight"].float().mul_(scale), config, f"bitsandbytes {bnb.__version__}"


def fp8(weight, strategy):
    import compressed_tensors
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    blocks = [128, 64] if strategy == "block" else None
    args = QuantizationArgs(num_bits=8, type="float", strategy=strategy, symmetric=True, block_structure=blocks)
    rows, columns = weight.shape
    parts = {
        "channel": weight.unsqueeze(1),
        "tensor": weight.reshape(1, 1, -1),
        "block": weight.reshape(rows // 128, 128, columns // 64, 64).transpose(1, 2).reshape(rows // 128, columns // 64, -1)
        if blocks
        else None,
    }[strategy]
    scale, _ = calculate_qparams(parts.amin(-1), parts.amax(-1), args)
    scale = scale.reshape(1) if strategy == "tensor" else scale
    packed = quantize(weight, scale, None, args, dtype=torch.float8_e4m3fn)
    wide = dequantize(packed, scale.float(), None, args, dtype=torch.float32)
    weights = {
        "dynamic": False,
        "num_bits": 8,
        "strategy": strategy,
        "symmetric": True,
        "type": "float",
        "block_structure": blocks,
        "group_size": None,
    }
    config = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}},
    }
    made = f"compressed-tensors {compressed_tensors.__version__}: quantize and calculate_qparams, dequantize"
    return {"weight": packed, "weight_scale": scale}, wide, config, made


def fp8_sparse(weight):
    import compressed_tensors
    from compressed_tensors.compressors.sparse_compressors.sparse_24_bitmask import Sparse24BitMaskTensor

    kept = weight.abs().reshape(-1, 4).topk(2, dim=1).indices
    sparse = torch.zeros_like(weight).reshape(-1, 4)
    sparse.scatter_(1, kept, weight.reshape(-1, 4).gather(1, kept))
    sparse = sparse.reshape(weight.shape)
    tensors, _, config, _ = fp8(sparse, "channel")
    packed, scale = tensors["weight"], tensors["weight_scale"]
    made = Sparse24BitMaskTensor.from_dense(packed)
    parts = {key.rsplit(".", 1)[-1]: value for key, value in made.dict(name_prefix=module).items()}
    config["sparsity_config"] = {
        "format": "sparse-24-bitmask",
        "sparsity_structure": "2:4",
        "targets": ["Linear"],
        "ignore": ["lm_head"],
    }
    wide = made.decompress().float() * scale.float()
    return {**parts, "weight_scale": scale}, wide, config, f"compressed-tensors {compressed_tensors.__version__}"


def rounded(weight, bits, group, low=False):
    """Scales and zero points [rows, groups], codes' range unsigned; `low`: some zero points are 0."""
    parts = weight.float().reshape(weight.shape[0], -1, group)
    least, most = parts.amin(-1).clamp(max=0), parts.amax(-1).clamp(min=0)
    scale = ((most - least) / (2**bits - 1)).half().float()
    zero = torch.round(-least / scale).clamp(1, 2**bits - 1)
    if low:
        zero[::3] = 0
    return scale, zero


def unpacked(weight, scale, zero, bits, group):
    parts = weight.float().reshape(weight.shape[0], -1, group)
    codes = torch.round(parts / scale.unsqueeze(-1) + zero.unsqueeze(-1)).clamp(0, 2**bits - 1)
    return ((codes - zero.unsqueeze(-1)) * scale.unsqueeze(-1)).reshape(weight.shape)


def gptq_three_bits(weight):
    import gptqmodel
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization import QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    rows, columns = weight.shape
    scale, zero = rounded(weight, 3, 64, low=True)
    wide = unpacked(weight, scale, zero, 3, 64)
    layer = TorchLinear(
        bits=3, group_size=64, sym=False, desc_act=False, in_features=columns, out_features=rows, bias=False,
        pack_dtype=torch.int32, register_buffers=True,
    )
    linear = torch.nn.Linear(columns, rows, bias=False)
    linear.weight.data = wide.clone()
    order = torch.arange(columns, dtype=torch.int32) // 64
    layer.pack(linear, scale.clone(), zero.clone(), order)
    convert_gptq_v2_to_v1_format_module(layer, QuantizeConfig(bits=3, group_size=64, sym=False, desc_act=False))
    tensors = {key: getattr(layer, key).clone() for key in ("qweight", "qzeros", "scales", "g_idx")}
    config = {
        "quant_method": "gptq", "bits": 3, "group_size": 64, "sym": False, "desc_act": False,
        "checkpoint_format": "gptq", "pack_dtype": "int32", "meta": {"quantizer": [f"gptqmodel:{gptqmodel.__version__}"]},
    }
    return tensors, wide, config, f"GPTQModel {gptqmodel.__version__}: pack, convert_gptq_v2_to_v1_format_module"


def awq_gemv(weight):
    from awq.modules.linear.gemv import WQLinear_GEMV

    rows, columns = weight.shape
    scale, zero = rounded(weight, 4, 64)
    wide = unpacked(weight, scale, zero, 4, 64)
    linear = torch.nn.Linear(columns, rows, bias=False)
    linear.weight.data = wide.clone()
    layer = WQLinear_GEMV.from_linear(linear, 4, 64, scales=scale, zeros=zero)
    tensors = {key: getattr(layer, key).clone() for key in ("qweight", "qzeros", "scales")}
    config = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemv"}
    return tensors, wide, config, "AutoAWQ 0.2.9: WQLinear_GEMV.from_linear"


samples = {
    "bnb-nf4": lambda weight: four_bits(weight, "nf4", False),
    "bnb-nf4-double": lambda weight: four_bits(weight, "nf4", True),
    "bnb-fp4": lambda weight: four_bits(weight, "fp4", False),
    "bnb-int8": eight_bits,
    "ct-fp8-channel": lambda weight: fp8(weight, "channel"),
    "ct-fp8-tensor": lambda weight: fp8(weight, "tensor"),
    "ct-fp8-block": lambda weight: fp8(weight, "block"),
    "ct-fp8-24": fp8_sparse,
    "gptq-int3-g64": gptq_three_bits,
    "awq-int4-g64-gemv": awq_gemv,
}

source, out, *names = sys.argv[1:]
with safe_open(os.path.join(source, "model.safetensors"), "pt") as file:
    weight = file.get_tensor(f"{module}.weight")
made = {}
for name in names or samples:
    try:
        tensors, wide, config, tool = samples[name](weight.clone())
    except ImportError as error:
        print(f"{name}: {error}", file=sys.stderr)
        continue
    named = {f"{module}.{key}": value.contiguous() for key, value in tensors.items()}
    save_file(named, os.path.join(out, f"{name}.safetensors"))
    made[name] = {
        "module": module,
        "shape": list(weight.shape),
        "made_with": f"{tool}, torch {torch.__version__}",
        "quantization_config": config,
        "expected": expected(wide),
    }
    print(name, file=sys.stderr)
with open(os.path.join(out, "made.json"), "w") as file:
    json.dump(made, file)
