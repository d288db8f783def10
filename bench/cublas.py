"""Products of a layer of Llama 3.1 8B's shape by cuBLAS (PyTorch), f16, us: weights take turns over 512 MB.

python3 bench/cublas.py > cublas.json
"""

import json

import torch

layers = [("qkv", 6144, 4096), ("o", 4096, 4096), ("gate+up", 28672, 4096), ("down", 4096, 14336)]
batches = [1, 4, 16, 64, 512, 2048]


def median_us(run, runs=50):
    """Of seven replays of a graph of so many runs, after a warm-up."""
    for _ in range(20):
        run(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for at in range(runs):
            run(at)
    graph.replay()
    torch.cuda.synchronize()
    times = []
    for _ in range(7):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / runs)
    return sorted(times)[3]


# clocks come up
warm = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
for _ in range(50):
    warm @ warm

rows = []
for layer, n, k in layers:
    copies = max(2, int(512e6 / (n * k * 2)))
    weights = [torch.randn(n, k, device="cuda", dtype=torch.float16) for _ in range(copies)]
    for batch in batches:
        x = torch.randn(batch, k, device="cuda", dtype=torch.float16)
        us = median_us(lambda at: torch.nn.functional.linear(x, weights[at % copies]))
        rows.append({"layer": layer, "n": n, "k": k, "batch": batch, "us": round(us, 2)})
    del weights
print(json.dumps({"device": torch.cuda.get_device_name(), "rows": rows}))
