"""Everyday benign texts that a rule against disguises may take for one; made, the same every time.

Code is read from this checkout; the rest is filled into sentences of ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from urllib.parse import quote

ROWS = 300
_ROOT = Path(__file__).resolve().parents[2]
_MADE_OF = json.loads((_ROOT / "benchmarks" / "inputs" / "everyday.json").read_text("utf-8"))
_WORDS: list[str] = _MADE_OF["words"]
_SPEECH = "speech, "


def everyday() -> dict[str, list[str]]:
    """Name -> ROWS benign texts."""
    makers: dict[str, Callable[[Random], str]] = {
        "code": _code(), "URLs and identifiers": _link, "emoji chat": _chat, "dumps": _dump,
        **{k.removeprefix(_SPEECH): _speech(v) for k, v in _MADE_OF.items() if k.startswith(_SPEECH)},
    }  # fmt: skip
    texts = {}
    for name, make in makers.items():
        random = Random(name)
        texts[name] = [make(random) for _ in range(ROWS)]
    return texts


def _code() -> Callable[[Random], str]:
    files = sorted(_ROOT.glob("harmguard/**/*.py")) + sorted(_ROOT.glob("export/**/*.py"))
    # Not what is about disguises: that has them.
    texts = [p.read_text(encoding="utf-8").split("\n") for p in files if p.parent.name != "views"]
    texts = [lines for lines in texts if len(lines) > 40]

    def make(random: Random) -> str:
        lines = random.choice(texts)
        start = random.randrange(len(lines) - 30)
        return "\n".join(lines[start : start + random.randrange(8, 30)]).strip() or "pass"

    return make


def _name(random: Random) -> str:
    a, b, c = random.sample(_WORDS, 3)
    forms = (
        f"{a}_{b}_{c}", f"{a}-{b}", f"{a}{b.title()}{c.title()}", f"{a}.{b}", f"{a.upper()}_{b.upper()}",
        f"v{random.randrange(9)}.{random.randrange(20)}", hashlib.sha1(a.encode()).hexdigest(),
        f"{random.getrandbits(32):08x}-{random.getrandbits(16):04x}-4a1b-9c2d-{random.getrandbits(48):012x}",
    )  # fmt: skip
    return random.choice(forms)


def _link(random: Random) -> str:
    words = random.sample(_WORDS, 4)
    tail = random.choice(
        ("", ".html", "?q=" + quote(" ".join(words)), f"?id={random.randrange(10**6)}&ref=news%2Fletter",
         "#" + _name(random), "?token=" + base64.urlsafe_b64encode(random.randbytes(24)).decode())
    )  # fmt: skip
    url = f"https://{random.choice(_MADE_OF['hosts'])}/{'/'.join(words[:3])}{tail}"
    return random.choice(
        (url, f"Open {url} and tell me what {_name(random)} is.", f"Rename {_name(random)} to "
         f"{_name(random)}.", f"I get a 404 at {url} since yesterday", f"git checkout {_name(random)}")
    )  # fmt: skip


def _chat(random: Random) -> str:
    text: str = random.choice(_MADE_OF["chat"])
    while "{e}" in text:
        text = text.replace("{e}", random.choice(_MADE_OF["emoji"]), 1)
    return text


def _dump(random: Random) -> str:
    raw = random.randbytes(random.randrange(16, 120))
    text = f"The {random.choice(_WORDS)} has a {random.choice(_WORDS)}.".encode()
    forms = (
        base64.b64encode(raw).decode(), raw.hex(), raw.hex(" "), base64.b64encode(text).decode(),
        text.hex(), "data:image/png;base64,iVBORw0KGgo" + base64.b64encode(raw).decode(),
        "sha256:" + hashlib.sha256(raw).hexdigest(), json.dumps({"sig": raw.hex()[:40], "n": [*raw[:20]]}),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + base64.b64encode(raw[:32]).decode() + " me@host",
        "What is this? " + base64.b64encode(text).decode(),
    )  # fmt: skip
    return random.choice(forms)


def _speech(parts: list[list[str]]) -> Callable[[Random], str]:
    forms, *fillings = parts

    def make(random: Random) -> str:
        sentences = []
        for _ in range(random.randrange(1, 4)):
            a, b, c = map(random.choice, fillings)
            sentences.append(random.choice(forms).format(a=a, b=b, c=c))
        return " ".join(sentences)

    return make
