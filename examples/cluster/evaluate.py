"""`espalier eval`, a model a task.

    ray job submit --working-dir examples/cluster -- python evaluate.py --text FILE [--gpus 1] MODEL...
"""

import argparse

import ray

import espalier


@ray.remote(max_retries=1)
def evaluate(model: str, text: str, options: list[str]) -> dict:
    return espalier.run("eval", "--model", model, "--text", text, *options)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", required=True)
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of a task; 0 computes on CPUs")
    parser.add_argument("--cpus", type=float, default=1)
    parser.add_argument("models", nargs="+")
    given, options = parser.parse_known_args()
    ray.init()
    on = evaluate.options(num_cpus=given.cpus, num_gpus=given.gpus)
    results = ray.get([on.remote(model, given.text, options) for model in given.models])
    for model, result in zip(given.models, results):
        print(f"{model}: perplexity {result['perplexity']:.4f} over {result['tokens']} tokens, on {result['device']}")


main()
