"""
Makes the small random models beside this file with `transformers`, and what it computes of them:

  pip install torch transformers==5.24.0 safetensors
  python make.py

Each folder gets config.json, model.safetensors (f32) and expected.json: token ids, logits of the last of them, the
greedy continuation, and the perplexity of the ids. `rope.json` has what rotary scalings do to the model in `llama`:
frequencies, the factor of cosines and sines, logits, and what the model makes of a text of so many tokens and some
more: the greedy ones, and the perplexity. Where frequencies depend on how long a text is, they are those of the whole.
"""
import json
import math
import pathlib
import sys
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

here = pathlib.Path(__file__).parent
tokens = 24
size = dict(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, rope_theta=1000.0,
    bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False,
)
models = {
    "llama": dict(model_type="llama"),
    "llama-biased": dict(model_type="llama", attention_bias=True, mlp_bias=True),
    "llama-attention-bias": dict(model_type="llama", attention_bias=True, head_dim=16),
    "mistral": dict(model_type="mistral", sliding_window=6, head_dim=8),
    "qwen2": dict(model_type="qwen2", tie_word_embeddings=True),
    "qwen2-window": dict(model_type="qwen2", use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "qwen3": dict(model_type="qwen3", head_dim=16),
    "phi3": dict(model_type="phi3", sliding_window=6),
    "gemma3": dict(
        model_type="gemma3_text", head_dim=16, query_pre_attn_scalar=24, sliding_window=6, hidden_activation="gelu_pytorch_tanh",
        layer_types=["sliding_attention", "full_attention"], tie_word_embeddings=True,
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}},
    ),
}


def rounded(values):
    return [float(f"{value:.6g}") for value in values]


def expectation(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
        loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
        greedy = list(ids)
        for _ in range(16):
            greedy.append(int(model(torch.tensor([greedy])).logits[0, -1].argmax()))
    return {"logits": rounded(logits[-1].tolist()), "greedy": greedy[len(ids):], "perplexity": float(f"{loss.exp():.8g}")}


def random_ids(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return [1] + torch.randint(3, 96, (count - 1,), generator=generator).tolist()


for name, extra in models.items():
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        continue
    given = {**size, **extra}
    if given["model_type"] == "gemma3_text":
        del given["rope_theta"]
    config = AutoConfig.for_model(given.pop("model_type"), **given)
    config._attn_implementation = "eager"
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            if tensor.dim() == 1:  # gains and biases that are not what they begin as
                tensor.add_(0.3 * torch.randn(tensor.shape))
    folder = here / name
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    ids = random_ids(1, tokens)
    (folder / "expected.json").write_text(json.dumps({"ids": ids, **expectation(model, ids)}) + "\n")

scalings = {
    "llama3": dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
    "linear": dict(rope_type="linear", factor=2.0),
    "dynamic": dict(rope_type="dynamic", factor=2.0),
    "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=4.0),
    "yarn-mscale": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, mscale=0.7, mscale_all_dim=0.3, truncate=False),
    "longrope": dict(rope_type="longrope", factor=4.0, original_max_position_embeddings=32,
                     short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.0, 2.0, 4.0, 8.0]),
}
def continued(model, ids, more):
    """The greedy continuation and the perplexity in a text of len(ids) + more: what is not there yet is filled up."""
    text, room = list(ids), len(ids) + more
    with torch.no_grad():
        for at in range(len(ids), room + 1):
            logits = model(torch.tensor([text + [0] * (room - at)])).logits[0].double()
            if at < room:
                text.append(int(logits[at - 1].argmax()))
    loss = torch.nn.functional.cross_entropy(logits[: len(ids) - 1], torch.tensor(ids[1:]))
    return {"greedy": text[len(ids):], "perplexity": float(f"{loss.exp():.8g}")}


found = {}
plain = AutoModelForCausalLM.from_pretrained(here / "llama", attn_implementation="eager").eval().float()
for name, scaling in scalings.items():
    config = AutoConfig.from_pretrained(here / "llama")
    config.rope_parameters = {"rope_theta": 1000.0, **scaling}
    context = 16 if name == "dynamic" else 128
    config.max_position_embeddings = context
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).eval().float()
    model.load_state_dict(plain.state_dict())
    entry = {"config": {"max_position_embeddings": context, "rope_parameters": config.rope_parameters}, "lengths": []}
    # within the original context, and beyond it: for `dynamic` by a whole multiple
    for length in ([16, 32] if name == "dynamic" else [24, 48]):
        ids = random_ids(length, length)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        frequencies, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu", seq_len=length)
        entry["lengths"].append({
            "ids": ids, "logits": rounded(logits.tolist()),
            "frequencies": rounded(frequencies.tolist()), "factor": float(factor), **continued(model, ids, 32 - length if name == "dynamic" else 8),
        })
    found[name] = entry
(here / "rope.json").write_text(json.dumps(found) + "\n")
