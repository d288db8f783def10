"""What PyTorch makes of the losses and of AdamW: python make.py > made.json"""
import json
import torch

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
F = torch.nn.functional
T, V, D = 3, 7, 5


def case(loss, own, **others):
    own = own.clone().requires_grad_()
    weights = torch.tensor([0.5, 0.0, 1.5])
    each = loss(own)
    (each * weights).sum().backward()
    return {"own": own.tolist(), **{k: v.tolist() for k, v in others.items()}, "weights": weights.tolist(),
            "loss": each.tolist(), "gradient": own.grad.tolist()}


logits, dense = 3 * torch.randn(T, V), 3 * torch.randn(T, V)
next = torch.tensor([2, 6, 0])
y, target = torch.randn(T, D), 2 * torch.randn(T, D)
made = {
    "torch": torch.__version__,
    "kl": case(lambda x: F.kl_div(F.log_softmax(x, -1), F.log_softmax(dense, -1), log_target=True, reduction="none").sum(-1), logits, dense=dense),
    "cross_entropy": case(lambda x: F.cross_entropy(x, next, reduction="none"), logits, next=next),
    "block_error": case(lambda x: ((x - target) ** 2).mean(-1) / (target ** 2).mean(), y, target=target),
    "square_head": case(lambda x: ((x - target) ** 2).mean(-1) / (target ** 2).mean(-1), y, target=target),
}

# two tensors, clipped by their norm together, at changing rates
settings = {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "decay": 0.1, "clip": 1.0}
a, b = torch.randn(2, 3).requires_grad_(), torch.randn(1, 4).requires_grad_()
optimizer = torch.optim.AdamW([a, b], lr=1.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
steps = []
start = {"a": a.tolist(), "b": b.tolist()}
for rate in (0.1, 0.05, 0.02):
    ga, gb = torch.randn(2, 3), 0.3 * torch.randn(1, 4)
    a.grad, b.grad = ga.clone(), gb.clone()
    norm = torch.nn.utils.clip_grad_norm_([a, b], 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    steps.append({"rate": rate, "gradients": {"a": ga.tolist(), "b": gb.tolist()}, "norm": norm.item(),
                  "a": a.tolist(), "b": b.tolist()})
made["adamw"] = {"settings": settings, "start": start, "steps": steps}
print(json.dumps(made))
