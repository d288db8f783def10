"""Makes cases.json and expressions.json of this folder: see README.md.

    pip install tokenizers==0.23.3
    python make.py
"""
import json
import random
from pathlib import Path

import tokenizers
from tokenizers import Regex, Tokenizer, pre_tokenizers

HERE = Path(__file__).parent
random.seed(8)

TEXTS = [
    "",
    "a",
    "a b",
    " a  b ",
    "ab ba",
    "the bathe, tab-b.",
    "it's THE Bath_tub's 12 345½ ²",
    "\ufeffa\u0085b\u00a0\u2028b\n\n a\tb",
    "café cafe\u0301 ﬁ Ａ İ Σας",
    "日本 😀 a日",
    "<s>a b</s> <s> tab",
    "a-b--a▁b",
]

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_characters():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + at) for at in range(len(others))]


def ids(tokens):
    return {token: at for at, token in enumerate(dict.fromkeys(tokens))}


def bpe(tokens, merges, **fields):
    vocab = ids(tokens)
    for left, right in merges:
        joined = left + right.removeprefix(fields.get("continuing_subword_prefix") or "")
        vocab.setdefault(joined, len(vocab))
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **fields,
        "vocab": vocab,
        "merges": [list(pair) for pair in merges],
    }


LETTERS = ["<unk>", *"▁abcehistu BT_-.,'12½²日é😀"]
PAIRS = [("t", "h"), ("th", "e"), ("▁", "the"), ("a", "b"), ("▁", "b"), ("b", "a"), ("ba", "the"), (" ", "a"), (" ", "b")]
# of the issue: `a b` is [6, 5] where the replacement is split at
MARKED = bpe(["<unk>", "▁", "a", "b"], [("a", "▁"), ("▁", "b"), ("▁", "a")], unk_token="<unk>")
PLAIN = bpe(LETTERS, PAIRS, unk_token="<unk>")
BYTE_LEVEL = bpe(
    byte_characters(), [("Ġ", "a"), ("Ġ", "b"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "b"), ("Ã", "©"), ("Ċ", "Ċ")]
)
CONTINUED = [*LETTERS, *(f"##{letter}" for letter in "abehstu")]

MODELS = {
    "marked": MARKED,
    "plain": PLAIN,
    "bytes": BYTE_LEVEL,
    "unknown apart": {**PLAIN, "fuse_unk": False},
    "unknown fused": {**PLAIN, "fuse_unk": True},
    "fallback": bpe([*LETTERS, *BYTES], PAIRS, unk_token="<unk>", byte_fallback=True),
    "fused bytes": bpe([*LETTERS, *BYTES], PAIRS, unk_token="<unk>", byte_fallback=True, fuse_unk=True),
    "some bytes": bpe([*LETTERS, *BYTES[:0xE0]], PAIRS, unk_token="<unk>", byte_fallback=True, fuse_unk=True),
    "no merges for words": bpe([*LETTERS, "tab", "bath"], PAIRS, unk_token="<unk>", ignore_merges=True),
    "merges first": bpe([*LETTERS, "tab", "bath"], PAIRS, unk_token="<unk>", ignore_merges=False),
    "prefixed": bpe(
        CONTINUED, [("t", "##h"), ("th", "##e"), ("a", "##b"), ("b", "##a")],
        unk_token="<unk>", continuing_subword_prefix="##",
    ),
    "suffixed": bpe(
        [*LETTERS, *(f"{letter}</w>" for letter in "abestu")], [("a", "b</w>"), ("b", "a"), ("h", "e</w>"), ("t", "he</w>")],
        unk_token="<unk>", end_of_word_suffix="</w>",
    ),
    "both": bpe(
        [*CONTINUED, *(f"##{letter}</w>" for letter in "abes"), "a</w>"], [("a", "##b</w>"), ("t", "##a")],
        unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>",
    ),
    "merges as text": {**PLAIN, "merges": ["t h", "th e", "a b"], "dropout": 0.0},
    "untyped": {key: value for key, value in PLAIN.items() if key != "type"},
    "unigram": {
        "type": "Unigram",
        "unk_id": 0,
        "vocab": [["<unk>", 0], ["▁", -2], ["a", -3], ["b", -3.5], ["▁a", -4], ["ab", -5], ["the", -3], ["t", -4],
                  ["h", -5], ["e", -5], ["▁the", -6], ["ba", -6.5], [" ", -3], ["s", -4], ["bath", -7.5], ["é", -9]],
        "byte_fallback": False,
    },
    "unigram of bytes": {
        "type": "Unigram",
        "unk_id": 1,
        "vocab": [["a", -1], ["<unk>", -9], ["ab", -2], ["▁", -1.5], ["the", -3], *([byte, -12] for byte in BYTES)],
        "byte_fallback": True,
    },
    "word pieces": {
        "type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": ids([*CONTINUED, "the", "ba", "##the", "tab", "##'s", "##the,"]),
    },
    "short word pieces": {
        "type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "_", "max_input_chars_per_word": 3,
        "vocab": ids([*LETTERS, "_a", "_b", "_he", "the"]),
    },
    "words": {"type": "WordLevel", "unk_token": "<unk>", "vocab": ids([*LETTERS, "the", "tab", "THE", "it"])},
}

SPLIT = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def typed(kind, **fields):
    return {"type": kind, **fields}


def metaspace(**fields):
    return typed("Metaspace", **{"replacement": "▁", "prepend_scheme": "always", "split": True, **fields})


def byte_level(**fields):
    return typed("ByteLevel", **{"add_prefix_space": False, "trim_offsets": True, "use_regex": True, **fields})


def split(pattern, behavior, invert=False):
    return typed("Split", pattern=pattern, behavior=behavior, invert=invert)


def added(at, content, **fields):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"id": at, "content": content, **flags, **fields}


def template(before, after, tokens):
    special = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    single = [*map(special, before), {"Sequence": {"id": "A", "type_id": 0}}, *map(special, after)]
    return typed(
        "TemplateProcessing", single=single, pair=[*single, {"Sequence": {"id": "B", "type_id": 1}}],
        special_tokens={name: {"id": name, "ids": [at], "tokens": [name]} for name, at in tokens.items()},
    )


LLAMA2 = typed("Sequence", normalizers=[
    typed("Prepend", prepend="▁"), typed("Replace", pattern={"String": " "}, content="▁")])
LLAMA2_DECODER = typed("Sequence", decoders=[
    typed("Replace", pattern={"String": "▁"}, content=" "), typed("ByteFallback"), typed("Fuse"),
    typed("Strip", content=" ", start=1, stop=0)])


def cases():
    """Name, model, and the other parts."""
    for name in MODELS:
        cuts = {"marked": metaspace(split=False), "bytes": byte_level()}
        yield f"model: {name}", name, {"pre_tokenizer": cuts.get(name)}
    for name in ["suffixed", "both", "prefixed", "word pieces", "short word pieces", "words", "no merges for words", "merges first"]:
        yield f"words: {name}", name, {"pre_tokenizer": typed("WhitespaceSplit")}

    for kind in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"]:
        yield f"normalizer: {kind}", "fallback", {"normalizer": typed(kind)}
    for left in [False, True]:
        for right in [False, True]:
            yield f"normalizer: Strip {left} {right}", "plain", {"normalizer": typed("Strip", strip_left=left, strip_right=right)}
    for pattern, content in [({"String": " "}, "▁"), ({"String": "."}, ""), ({"Regex": r"\s+"}, " "), ({"Regex": "a|b"}, "$&")]:
        yield f"normalizer: Replace {pattern} {content}", "fallback", {"normalizer": typed("Replace", pattern=pattern, content=content)}
    yield "normalizer: Prepend", "plain", {"normalizer": typed("Prepend", prepend="▁")}
    yield "normalizer: ByteLevel", "bytes", {"normalizer": typed("ByteLevel"), "decoder": byte_level()}
    yield "normalizer: Sequence", "fallback", {"normalizer": typed("Sequence", normalizers=[
        typed("NFD"), typed("StripAccents"), typed("Lowercase")])}
    yield "normalizer: nothing", "plain", {"normalizer": typed("Sequence", normalizers=[])}

    for scheme in ["always", "first", "never"]:
        for splits in [False, True]:
            for name in ["marked", "plain"]:
                yield f"Metaspace {scheme} {splits} {name}", name, {
                    "pre_tokenizer": metaspace(prepend_scheme=scheme, split=splits),
                    "decoder": metaspace(prepend_scheme=scheme, split=splits),
                    "added_tokens": [added(len(MODELS[name]["vocab"]), "<s>", special=True)],
                }
    old = typed("Metaspace", replacement="▁", add_prefix_space=True, str_rep="▁")
    yield "Metaspace of old files", "marked", {"pre_tokenizer": old, "decoder": old}
    yield "Metaspace by another character", "plain", {"pre_tokenizer": metaspace(replacement="_")}
    for space in [False, True]:
        for regex in [False, True]:
            yield f"ByteLevel {space} {regex}", "bytes", {
                "pre_tokenizer": byte_level(add_prefix_space=space, use_regex=regex), "decoder": byte_level(trim_offsets=False),
                "post_processor": byte_level(trim_offsets=False)}
    for behavior in SPLIT:
        yield f"Split {behavior}", "plain", {"pre_tokenizer": split({"String": "a"}, behavior)}
        yield f"Split {behavior} inverted", "plain", {"pre_tokenizer": split({"Regex": r"\p{L}+"}, behavior, True)}
        yield f"Punctuation {behavior}", "words", {"pre_tokenizer": typed("Punctuation", behavior=behavior)}
    for each in [False, True]:
        yield f"Digits {each}", "words", {"pre_tokenizer": typed("Digits", individual_digits=each)}
    for kind in ["Whitespace", "WhitespaceSplit", "BertPreTokenizer"]:
        yield kind, "words", {"pre_tokenizer": typed(kind)}
    yield "CharDelimiterSplit", "words", {"pre_tokenizer": typed("CharDelimiterSplit", delimiter="-")}
    for length in [1, 3]:
        yield f"FixedLength {length}", "words", {"pre_tokenizer": typed("FixedLength", length=length)}
    yield "Llama 3", "bytes", {
        "pre_tokenizer": typed("Sequence", pretokenizers=[split({"Regex": LLAMA3}, "Isolated"), byte_level(use_regex=False)]),
        "decoder": byte_level(),
        "added_tokens": [added(len(BYTE_LEVEL["vocab"]), "<s>", special=True)],
        "post_processor": typed("Sequence", processors=[byte_level(), template(["<s>"], [], {"<s>": len(BYTE_LEVEL["vocab"])})]),
    }
    yield "Llama 2", "fallback", {
        "normalizer": LLAMA2, "decoder": LLAMA2_DECODER,
        "added_tokens": [added(len(MODELS["fallback"]["vocab"]), "<s>", special=True),
                         added(len(MODELS["fallback"]["vocab"]) + 1, "</s>", special=True)],
        "post_processor": template(["<s>"], ["</s>"], {
            "<s>": len(MODELS["fallback"]["vocab"]), "</s>": len(MODELS["fallback"]["vocab"]) + 1}),
    }

    for flag in ["single_word", "lstrip", "rstrip", "normalized", "special"]:
        for content in ["tab", "b", "<s>"]:
            at = len(PLAIN["vocab"]) if content != "b" else PLAIN["vocab"]["b"]
            yield f"added: {flag} {content}", "plain", {
                "normalizer": typed("Lowercase"), "added_tokens": [added(at, content, **{flag: True})],
                "decoder": typed("Fuse")}
    at = len(PLAIN["vocab"])
    yield "added: the longest, then the next", "plain", {"added_tokens": [
        added(at, "ta"), added(at + 1, "tab", single_word=True), added(at + 2, "tab-", lstrip=True), added(PLAIN["vocab"][" "], " ", rstrip=True)]}
    yield "added: both kinds", "plain", {"normalizer": LLAMA2, "added_tokens": [
        added(at, "<s>", special=True), added(at + 1, "ta", normalized=True), added(at + 2, "</s>", rstrip=True, special=True)]}

    for kind in ["BertProcessing", "RobertaProcessing"]:
        more = {} if kind == "BertProcessing" else {"trim_offsets": True, "add_prefix_space": False}
        yield kind, "plain", {"post_processor": typed(kind, sep=["b", PLAIN["vocab"]["b"]], cls=["a", PLAIN["vocab"]["a"]], **more)}
    yield "a longer template", "plain", {"post_processor": typed("Sequence", processors=[
        typed("Sequence", processors=[byte_level()]), template(["a", "b"], ["b"], {"a": 2, "b": 3})])}

    for at, decoder in enumerate([
        None,
        typed("ByteFallback"),
        typed("Fuse"),
        typed("Strip", content="a", start=1, stop=0),
        typed("Strip", content=" ", start=2, stop=0),
        typed("Sequence", decoders=[typed("Fuse"), typed("Strip", content="a", start=0, stop=1)]),
        typed("Replace", pattern={"String": "▁"}, content=" "),
        typed("Replace", pattern={"Regex": "[ab]"}, content="$&"),
        metaspace(),
        metaspace(prepend_scheme="never"),
        typed("WordPiece", prefix="##", cleanup=False),
        typed("WordPiece", prefix="t", cleanup=True),
        typed("BPEDecoder", suffix="</w>"),
        byte_level(),
        LLAMA2_DECODER,
        typed("Sequence", decoders=[typed("ByteFallback"), typed("Fuse"), typed("Replace", pattern={"String": "ab"}, content="")]),
    ]):
        for name in ["fallback", "suffixed", "prefixed"]:
            yield f"decoder: {at} {name}", name, {"decoder": decoder}

    at = len(MODELS["fused bytes"]["vocab"])
    yield "Gemma", "fused bytes", {
        "normalizer": typed("Replace", pattern={"String": " "}, content="▁"),
        "pre_tokenizer": split({"String": " "}, "MergedWithPrevious"),
        "decoder": typed("Sequence", decoders=[
            typed("Replace", pattern={"String": "▁"}, content=" "), typed("ByteFallback"), typed("Fuse")]),
        "added_tokens": [added(at, "<s>", special=True), added(at + 1, "\n\n"), added(at + 2, "▁▁")],
        "post_processor": template(["<s>"], [], {"<s>": at}),
    }


def file_of(model, parts):
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None, **parts, "model": MODELS[model],
    }


def decoded(tokenizer, parts, ids):
    """None where the library fails (Strip beyond the start of a text), and where added tokens become others: README.md."""
    for token in parts.get("added_tokens", []):
        if token["normalized"] and "normalizer" in parts and tokenizer.normalizer.normalize_str(token["content"]) != token["content"]:
            return None
    try:
        return tokenizer.decode(ids, skip_special_tokens=True)
    except BaseException:
        return None


def result(name, model, parts):
    tokenizer = Tokenizer.from_str(json.dumps(file_of(model, parts)))
    assert all(tokenizer.token_to_id(token["content"]) == token["id"] for token in parts.get("added_tokens", [])), name
    size = tokenizer.get_vocab_size()
    lists = [[random.randrange(size) for _ in range(random.randint(1, 12))] for _ in range(4)]
    if len(MODELS[model]["vocab"]) > 256:
        # bytes in a row
        bytes_at = tokenizer.token_to_id("<0xE6>")
        if bytes_at is not None:
            lists += [[bytes_at, bytes_at - 0xE6 + 0x97, bytes_at - 0xE6 + 0xA5, 2], [bytes_at, 2], [bytes_at - 0xE6 + 0xEF - 0x40, bytes_at, 1]]
    return {
        "name": name,
        "model": model,
        "parts": parts,
        "ids": [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS],
        "framed": tokenizer.encode("a", add_special_tokens=True).ids,
        "decoded": [[ids, decoded(tokenizer, parts, ids)] for ids in lists],
        "back": [decoded(tokenizer, parts, tokenizer.encode(text, add_special_tokens=False).ids) for text in TEXTS],
    }


def lines(values):
    return "[\n" + ",\n".join(json.dumps(value, ensure_ascii=True) for value in values) + "\n]"


made = {"tokenizers": tokenizers.__version__}
head = json.dumps({**made, "texts": TEXTS, "models": MODELS})[1:-1]
(HERE / "cases.json").write_text("{" + head + ',\n"cases": ' + lines([result(*case) for case in cases()]) + "}\n")
