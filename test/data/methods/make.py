"""Makes synthetic.safetensors, real.safetensors and made.json of this folder: see README.md.

    python make.py        # with the packages of README.md; examples/classics-3.7m is read

The methods are written after the papers and their authors' code, in lazy blocks of 128 columns: what a block's errors
do to the columns after it is one product at the block's end. Nothing here is taken from Espalier.
"""
import json
import platform
from pathlib import Path

import numpy
import safetensors
import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent
MODEL = HERE.parents[2] / "examples" / "classics-3.7m"
BLOCK = 128
SMALLEST = 2.0**-14  # the smallest normal f16
LOW, HIGH = -8.0, 7.0
ROWS = 40  # of each layer
torch.set_num_threads(2)


class Margins:
    """How near each row came to a decision that could have gone the other way, by kind of decision; the least of all."""

    def __init__(self, rows):
        self.rows = rows
        self.least = {}

    def note(self, kind, distance):
        distance = distance.reshape(self.rows, -1).amin(1)
        self.least[kind] = torch.minimum(self.least[kind], distance) if kind in self.least else distance


# grids

def stored(scale, margins):
    """Rounded to f16, as it is stored. The margin: the distance from half way between two f16, of the f16 step."""
    exponent = torch.floor(torch.log2(scale.clamp(min=SMALLEST)))
    place = scale / 2.0 ** (exponent - 10)
    margins.note("scale", torch.where(scale > SMALLEST, (place - place.floor() - 0.5).abs(), 1.0))
    # exact: a double is rounded once, not by way of f32
    return torch.maximum(torch.round(place) * 2.0 ** (exponent - 10), torch.tensor(SMALLEST, dtype=scale.dtype))


def code(t, low, high, margins, counts=None):
    """The nearest whole number in low .. high. The margin: the distance from half way, where both sides are in the range."""
    distance = (t - t.floor() - 0.5).abs()
    inside = (t > low - 0.25) & (t < high + 0.25)
    if counts is not None:
        inside &= counts
    margins.note("code", torch.where(inside, distance, 0.5))
    return torch.round(t).clamp(low, high)


def largest_scale(w, margins):
    return stored(w.abs().amax(1) / 7.5, margins)


def searched_scale(w, margins, keep=None):
    """The scale of least squared error among 24 that shrink by 2 percent each, over what is kept."""
    keep = torch.ones_like(w, dtype=torch.bool) if keep is None else keep
    largest = torch.where(keep, w.abs(), 0).amax(1)
    silent = Margins(len(w))
    candidates = torch.stack([stored(largest * (1 - 0.02 * c) / 7.5, silent) for c in range(24)], 1)
    losses = torch.stack([
        torch.where(keep, w - code(w / s[:, None], LOW, HIGH, silent) * s[:, None], 0).square().sum(1) for s in candidates.T
    ], 1)
    best = losses.argmin(1)
    chosen = candidates.gather(1, best[:, None])
    others = torch.where(candidates == chosen, torch.inf, losses)
    least = losses.amin(1)
    margins.note("search", torch.where(largest > 0, (others.amin(1) - least) / least.clamp(min=1e-300), 1.0))
    return stored(largest * (1 - 0.02 * best) / 7.5, margins)


def groups_of(w, group):
    return w.unflatten(1, (-1, group))


def static_scales(w, group, find, margins):
    return torch.stack([find(part, margins) for part in groups_of(w, group).unbind(1)], 1)


def asymmetric_grid(w, group, margins):
    parts = groups_of(w, group)
    low, high = parts.amin(2).clamp(max=0), parts.amax(2).clamp(min=0)
    s = stored(((high - low) / 15).reshape(-1), margins).reshape(low.shape)
    return s, code(-low / s, 0, 15, margins)


# masks

def keeps(score, kept, of_each, margins):
    """The mask of the `kept` highest of each `of_each` neighbours. The margin: the relative gap between the last kept and the first lost."""
    parts = groups_of(score, of_each)
    best = parts.sort(dim=2, descending=True, stable=True)
    edge, after = best.values[:, :, kept - 1], best.values[:, :, kept]
    margins.note("mask", torch.where(edge > 0, (edge - after) / edge.clamp(min=1e-300), 1.0))
    mask = torch.zeros_like(parts, dtype=torch.bool).scatter(2, best.indices[:, :, :kept], True)
    return mask.flatten(1)


# the Hessian

def hessian(sequences):
    """2 X^T X over the number of sequences, as it grows with each of them."""
    columns = sequences[0].shape[1]
    h, n = torch.zeros(columns, columns, dtype=sequences[0].dtype), 0
    for x in sequences:
        h *= n / (n + 1)
        n += 1
        x = x * (2 / n) ** 0.5
        h += x.T @ x
    return h


def prepare(w, h, damp=0.01):
    """The weights without dead columns, and the Hessian made safe."""
    w, h = w.clone(), h.clone()
    dead = h.diagonal() == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    h.diagonal().add_(damp * h.diagonal().mean())
    return w, h


def factor(h):
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)


# the walk

def walk(w, u, column):
    """
    The columns of `w` replaced one after another by what `column(k, ahead)` gives for column k; the error of each is
    taken over by those after it. `ahead(size)` are the columns from k on, as they are now.
    """
    w = w.clone()
    columns = w.shape[1]
    for first in range(0, columns, BLOCK):
        last = min(first + BLOCK, columns)
        block, errors, local = w[:, first:last].clone(), torch.zeros_like(w[:, first:last]), u[first:last, first:last]
        for i in range(last - first):
            # columns past the block still lack what this block adds to them
            def ahead(size, i=i):
                inside = block[:, i:i + size]
                beyond = w[:, last:first + i + size] - errors[:, :i] @ u[first:first + i, last:first + i + size]
                return torch.cat([inside, beyond], 1)

            q = column(first + i, ahead)
            error = (block[:, i] - q) / local[i, i]
            block[:, i:] -= error[:, None] * local[i, i:]
            block[:, i] = q
            errors[:, i] = error
        w[:, first:last] = block
        w[:, last:] -= errors @ u[first:last, last:]
    return w


def gptq(w, u, s, group, margins, keep=None):
    def column(k, ahead):
        scale = s[:, k // group]
        live = None if keep is None else keep[:, k]
        q = code(ahead(1)[:, 0] / scale, LOW, HIGH, margins, live) * scale
        return q if keep is None else torch.where(live, q, 0)
    return walk(w, u, column)


def gptq_asymmetric(w, u, s, z, group, margins):
    def column(k, ahead):
        scale, zero = s[:, k // group], z[:, k // group]
        t = ahead(1)[:, 0] / scale + zero
        return (code(t, 0, 15, margins) - zero) * scale
    return walk(w, u, column)


def gptq_dynamic(w, u, group, find, margins, keep=None):
    """Scales of each group from its weights as they are when the walk reaches it."""
    scales = torch.zeros(w.shape[0], w.shape[1] // group, dtype=w.dtype)

    def column(k, ahead):
        if k % group == 0:
            scales[:, k // group] = find(ahead(group), margins) if keep is None else find(ahead(group), margins, keep[:, k:k + group])
        scale = scales[:, k // group]
        live = None if keep is None else keep[:, k]
        q = code(ahead(1)[:, 0] / scale, LOW, HIGH, margins, live) * scale
        return q if keep is None else torch.where(live, q, 0)
    return walk(w, u, column), scales


def gptq_ordered(w, h, s, group, margins):
    """Activation order with static groups: the columns of large inputs first, each with the scale of the group where it stands."""
    order = torch.argsort(h.diagonal(), descending=True)
    u = factor(h[order][:, order])

    def column(k, ahead):
        scale = s[:, order[k] // group]
        return code(ahead(1)[:, 0] / scale, LOW, HIGH, margins) * scale
    return walk(w[:, order], u, column)[:, torch.argsort(order)]


def saliency(w, u, k):
    return w.square() / u.diagonal()[k:k + w.shape[1]].square()


def sparsegpt(w, u, kept, of_each, margins):
    mask = torch.zeros_like(w, dtype=torch.bool)

    def column(k, ahead):
        if k % of_each == 0:
            mask[:, k:k + of_each] = keeps(saliency(ahead(of_each), u, k), kept, of_each, margins)
        return torch.where(mask[:, k], ahead(1)[:, 0], 0)
    return walk(w, u, column), mask


def sparsegpt_update(w, u, mask):
    return walk(w, u, lambda k, ahead: torch.where(mask[:, k], ahead(1)[:, 0], 0))


def one_pass(w, u, kept, of_each, group, margins):
    """SparseGPT and GPTQ: the scale of a group from what the saliency predicts to be kept when the walk reaches the group."""
    mask = torch.zeros_like(w, dtype=torch.bool)
    scales = torch.zeros(w.shape[0], w.shape[1] // group, dtype=w.dtype)

    def column(k, ahead):
        if k % group == 0:
            now = ahead(group)
            scales[:, k // group] = searched_scale(now, margins, keeps(saliency(now, u, k), kept, of_each, margins))
        if k % of_each == 0:
            mask[:, k:k + of_each] = keeps(saliency(ahead(of_each), u, k), kept, of_each, margins)
        scale = scales[:, k // group]
        return torch.where(mask[:, k], code(ahead(1)[:, 0] / scale, LOW, HIGH, margins, mask[:, k]) * scale, 0)
    return walk(w, u, column), mask, scales


# all of them on one layer

def results(w, h, margins):
    """Every method on a layer: tensors by name. `h` is not damped."""
    out = {}
    squares = h.diagonal().clone()
    w, h = prepare(w, h)
    u = factor(h)
    columns = w.shape[1]
    out["factor"] = u
    for group in (64, 128):
        out[f"scales.{group}"] = s = static_scales(w, group, largest_scale, margins)
        out[f"gptq.{group}"] = gptq(w, u, s, group, margins)
    out["grid.scales"], out["grid.zeros"] = asymmetric_grid(w, 64, margins)
    out["gptq_asymmetric"] = gptq_asymmetric(w, u, out["grid.scales"], out["grid.zeros"], 64, margins)
    for group in (64, columns):
        out[f"gptq_dynamic.{group}"], out[f"gptq_dynamic.{group}.scales"] = gptq_dynamic(w, u, group, largest_scale, margins)
    out["gptq_search"], out["gptq_search.scales"] = gptq_dynamic(w, u, 128, searched_scale, margins)
    out["search.scales"] = static_scales(w, 128, searched_scale, margins)
    out["gptq_ordered"] = gptq_ordered(w, h, out["search.scales"], 128, margins)

    for kept, of_each in ((2, 4), (4, 8), (64, 128)):
        out[f"sparsegpt.{kept}:{of_each}"], out[f"sparsegpt.{kept}:{of_each}.mask"] = sparsegpt(w, u, kept, of_each, margins)
    out["wanda.mask"] = keeps(w.abs() * squares.sqrt(), 2, 4, margins)
    out["sparsegpt_update"] = sparsegpt_update(w, u, out["wanda.mask"])

    sparse, mask = out["sparsegpt.2:4"], out["sparsegpt.2:4.mask"]
    out["kept.scales"] = static_scales(sparse, 128, largest_scale, margins)
    out["gptq_kept"] = gptq(sparse, u, out["kept.scales"], 128, margins, mask)
    out["gptq_kept_search"], out["gptq_kept_search.scales"] = gptq_dynamic(sparse, u, 128, searched_scale, margins, mask)
    out["one_pass"], out["one_pass.mask"], out["one_pass.scales"] = one_pass(w, u, 2, 4, 128, margins)
    return out


# inputs

def synthetic():
    """Inputs of 8 sequences of 64 tokens with correlated features, some of them large and one never seen; weights with heavy tails."""
    draw = torch.Generator().manual_seed(20240611)
    normal = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64)
    rows, columns = 512, 256
    mix = normal(48, columns) / 48**0.5
    x = normal(512, 48) @ mix + 0.5 * normal(512, columns)
    x *= torch.exp(0.5 * normal(columns))
    x[:, [19, 77, 150, 201]] *= 12
    x[:, 93] = 0
    w = normal(rows, columns) * torch.exp(0.4 * normal(rows, 1)) * torch.where(torch.rand(rows, columns, generator=draw) < 0.02, 4.0, 1.0) / columns**0.5
    return w.half(), x.half()


def real():
    """A layer of the example model, and X^T X of what it receives over the first 128 windows of the calibration text."""
    name, windows = "model.layers.1.self_attn.o_proj", 128
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    ids = tokenizer((MODEL / "calibration.txt").read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    layer = model.get_submodule(name)
    gram = torch.zeros(layer.in_features, layer.in_features, dtype=torch.float64)

    def see(_module, inputs):
        x = inputs[0].flatten(0, 1).double()
        gram.add_(x.T @ x)

    layer.register_forward_pre_hook(see)
    with torch.no_grad():
        for at in range(windows):
            model(torch.tensor([[tokenizer.bos_token_id, *ids[at * 255:(at + 1) * 255]]]))
    return layer.weight.detach().bfloat16(), gram.float(), windows


# How far each kind of decision must be from going the other way: codes in steps of the grid, scales in steps of f16,
# masks and searches relatively. `nearness` in made.json tells how much of that float32 was seen to need.
NEEDED = {"code": 2e-4, "scale": 5e-3, "mask": 1e-4, "search": 1e-4}


def settled(w, h, rows):
    """What was found for the first rows that keep the margins in all methods, which those are, and facts about the margins."""
    margins = Margins(len(w))
    found = results(w, h, margins)
    nearness = torch.stack([margins.least[kind] / needed for kind, needed in NEEDED.items()]).amin(0)
    chosen = (nearness > 1).nonzero()[:, 0][:rows]
    if len(chosen) < rows:
        raise SystemExit(f"only {len(chosen)} rows of {len(w)} keep the margins, not {rows}")
    of_rows = {name: tensor for name, tensor in found.items() if name != "factor"}

    # the same in float32, also of the rows that are left out: where does it decide otherwise?
    again = results(w.float(), h.float(), Margins(len(w)))
    far = {name: (again[name].double() - tensor.double()).norm(dim=1) / tensor.double().norm(dim=1) for name, tensor in of_rows.items()}
    otherwise = torch.stack(list(far.values())).amax(0) > 1e-4
    return chosen, {"factor": found["factor"], **{name: tensor[chosen] for name, tensor in of_rows.items()}}, {
        "rows": chosen.tolist(), "rows_tried": len(w), "rows_that_keep_the_margins": int((nearness > 1).sum()),
        "least_margins": {kind: float(least[chosen].min()) for kind, least in margins.least.items()},
        "float32": {
            "rows_decided_otherwise": int(otherwise.sum()), "of_those_chosen": int(otherwise[chosen].sum()),
            "nearness_of_the_clearest_of_them": float(nearness[otherwise].amax()) if otherwise.any() else None,
            "largest_relative_difference_of_a_chosen_row": max(float(one[chosen].amax()) for one in far.values()),
        },
    }


def compact(found, group_of):
    """What is written: weights on a grid as multiples of their scales, masks as bytes, all else as f32."""
    out = {}
    for name, tensor in found.items():
        if name == "factor":
            out[name] = triangle(tensor).float()
        elif tensor.dtype == torch.bool:
            out[name] = tensor.to(torch.uint8)
        elif name in group_of:
            scales = found[group_of[name]]
            codes = tensor / scales.repeat_interleave(tensor.shape[1] // scales.shape[1], 1)
            assert (codes - codes.round()).abs().max() < 1e-6 and codes.abs().max() <= 16
            out[f"{name}.codes"] = codes.round().to(torch.int8)
        elif name.endswith("scales"):
            out[name] = tensor.half()
            assert (out[name].double() == tensor).all()
        else:
            out[name] = tensor.float()
    return {name: tensor.contiguous() for name, tensor in out.items()}


ON_GRID = {
    "gptq.64": "scales.64", "gptq.128": "scales.128", "gptq_asymmetric": "grid.scales", "gptq_dynamic.64": "gptq_dynamic.64.scales",
    "gptq_dynamic.256": "gptq_dynamic.256.scales", "gptq_search": "gptq_search.scales", "gptq_ordered": "search.scales", "gptq_kept": "kept.scales",
    "gptq_kept_search": "gptq_kept_search.scales", "one_pass": "one_pass.scales",
}


def triangle(square):
    """The upper triangle, row by row: what a symmetric or an upper triangular matrix holds."""
    return square[tuple(torch.triu_indices(*square.shape))]


def write(name, w, h, inputs, facts):
    chosen, found, about = settled(w.double(), h, ROWS)
    path = HERE / f"{name}.safetensors"
    save_file({"w": w[chosen], **inputs, **compact(found, ON_GRID)}, path)
    path.chmod(0o644)
    return {**facts, **about}


def main():
    w, x = synthetic()
    made = {
        "python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__, "safetensors": safetensors.__version__,
        "transformers": transformers.__version__, "margins_needed": NEEDED,
    }
    made["synthetic"] = write("synthetic", w, hessian([part.double() for part in x.split(64)]), {"x": x}, {"seed": 20240611, "windows": 8, "damp": 0.01})
    w, gram, windows = real()
    made["real"] = write("real", w, 2 / windows * gram.double(), {"gram": triangle(gram)}, {"layer": "model.layers.1.self_attn.o_proj", "windows": windows, "damp": 0.01})
    (HERE / "made.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
