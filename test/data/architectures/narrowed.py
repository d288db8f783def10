"""
What `transformers` computes of the models beside this file after a recipe has taken half of the heads and a quarter of
the channels out of them (the recipe of test/llama/compression/retain.test.ts):

  espalier compress half.esp --model NAME --out FOLDER/NAME     for each
  pip install torch transformers==5.24.0 safetensors
  python narrowed.py FOLDER > narrowed.json
"""
import json
import pathlib
import sys
import torch
from transformers import AutoModelForCausalLM

here = pathlib.Path(__file__).parent
results = {}
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    ids = json.loads((here / folder.name / "expected.json").read_text())["ids"]
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    if [name for name in info["missing_keys"] if name != "lm_head.weight"] or info["mismatched_keys"]:
        raise RuntimeError(f"{folder.name}: {info}")
    with torch.no_grad():
        logits = model.eval()(torch.tensor([ids])).logits[0].double()
        loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
    results[folder.name] = {
        "parameters": sum(each.numel() for each in model.parameters()),
        "perplexity": float(f"{loss.exp():.8g}"),
    }
print(json.dumps(results, indent=1))
