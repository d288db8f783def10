"""Asks a server by the OpenAI interface: whole, in events, and many at once. `python ask.py URL [MODEL]`"""

import concurrent.futures
import json
import sys
import urllib.request

url = sys.argv[1]


def ask(path: str, body: dict | None = None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return answer.read().decode()


model = json.loads(ask("/models"))["data"][0]["id"]
body = {"model": model, "prompt": '"My dear Mr. Holmes," said he,', "max_tokens": 12, "temperature": 0}
whole = json.loads(ask("/completions", body))["choices"][0]["text"]
events = [line[6:] for line in ask("/completions", {**body, "stream": True}).splitlines() if line.startswith("data: ")]
streamed = "".join(json.loads(event)["choices"][0]["text"] for event in events if event != "[DONE]")
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    many = list(pool.map(lambda _: json.loads(ask("/completions", body))["choices"][0]["text"], range(8)))
print(f"{model}: {whole!r}")
print(f"in {len(events)} events, the last {events[-1]}: {'the same' if streamed == whole else repr(streamed)}")
print(f"8 at once: {sum(text == whole for text in many)} the same")
if streamed != whole or any(text != whole for text in many):
    sys.exit(1)
