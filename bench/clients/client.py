"""The official Python client against `espalier serve`: completions and chats, whole and in events.

pip install openai; python client.py http://127.0.0.1:8080/v1
"""
import sys

from openai import BadRequestError, NotFoundError, OpenAI

client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
model = client.models.list().data[0].id
ask = dict(model=model, prompt="It was a dark night", max_tokens=8, temperature=0)

whole = client.completions.create(**ask)
print("completion:", repr(whole.choices[0].text), whole.choices[0].finish_reason, whole.usage.total_tokens)
chunks = list(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
assert text == whole.choices[0].text and chunks[-1].usage.total_tokens == whole.usage.total_tokens
print("in events: the same in", len(chunks), "chunks")

scored = client.completions.create(**{**ask, "max_tokens": 1}, echo=True, logprobs=2)
found = scored.choices[0].logprobs
assert found.token_logprobs[0] is None and all(value <= 0 for value in found.token_logprobs[1:])
print("scored:", list(zip(found.tokens, [value and round(value, 2) for value in found.token_logprobs])))

messages = [{"role": "user", "content": "What is the capital of France?"}]
try:
    chat = client.chat.completions.create(
        model=model, messages=messages, max_tokens=16, temperature=0, logprobs=True, top_logprobs=2
    )
    print("chat:", repr(chat.choices[0].message.content), chat.choices[0].finish_reason)
    stream = client.chat.completions.create(model=model, messages=messages, max_tokens=16, temperature=0, stream=True)
    pieces = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert pieces == chat.choices[0].message.content
    print("in events: the same")
except BadRequestError as error:
    print("chat:", error.code)

for wrong in (dict(max_tokens=10**6), dict(model="other"), dict(extra_body={"temprature": 1})):
    try:
        client.completions.create(**{**ask, **wrong})
        raise SystemExit(f"{wrong} was taken")
    except (BadRequestError, NotFoundError) as error:
        print(error.status_code, error.code, error.body["message"])
