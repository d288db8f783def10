"""`espalier sensitivity`, a treatment a task, on whatever machines Ray has.

    ray job submit --working-dir examples/cluster -- python tries.py --model DIR --text FILE [--gpus 1] TREATMENT...

Rows of all treatments are printed, the worst first, as `espalier sensitivity --json` has them. Each task observes the
calibration text and scores the dense model itself, so that a row is the same to the bit wherever it was made; that the
dense perplexities agree is checked.
"""

import argparse
import json

import ray

import espalier


@ray.remote(max_retries=1)
def tries(model: str, text: str, treatment: str, options: list[str]) -> dict:
    return espalier.run("sensitivity", "--model", model, "--text", text, "--treatments", treatment, *options)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of a task; 0 computes on CPUs")
    parser.add_argument("--cpus", type=float, default=1)
    parser.add_argument("treatments", nargs="+")
    given, options = parser.parse_known_args()
    ray.init()
    on = tries.options(num_cpus=given.cpus, num_gpus=given.gpus)
    asked = {on.remote(given.model, given.text, one, options): one for one in given.treatments}
    results, left = {}, list(asked)
    while left:
        done, left = ray.wait(left)
        for one in done:
            results[asked[one]] = ray.get(one)
            print(f"{asked[one]}: {len(results[asked[one]]['rows'])} tries", flush=True)
    dense = {result["perplexity"] for result in results.values()}
    if len(dense) > 1:
        raise SystemExit(f"the tasks found different perplexities of the model as given: {sorted(dense)}")
    rows = [row for treatment in given.treatments for row in results[treatment]["rows"]]
    rows.sort(key=lambda row: -row["delta"])
    print(f"perplexity as given {dense.pop():.3f}")
    for row in rows:
        print(json.dumps({key: row[key] for key in ("treatment", "group", "delta", "layerError")}))


main()
