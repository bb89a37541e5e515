"""What the training sets of the shipped guards share: cuts, made rows, and their folder."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from harmguard.core.files import new_folder, refuse_existing
from harmguard.errors import DataError
from harmguard.rows import Row, read_rows

BACKBONE_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MAX_TOKENS = 512
CHARS_PER_TOKEN = 4.2  # English text under BERT's vocabulary; only sizes the long texts below
# The prompts of these benign pairs are benign, those of these harmful pairs harmful.
BENIGN_PAIR_SOURCES = ("gpteacher_code", "gpteacher_roleplay", "lf_dpo_demo")
HARMFUL_PAIR_SOURCES = ("refusal_direction_jbb", "jbb_artifacts", "adaptive_attacks")
# Three quarters of the texts above this many characters are cut to it: a long row costs a step
# four times as much as it teaches.
SHORTENED_CHARS, SHORTENED_SHARE = 1000, 3 / 4

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


def permissive_rows(data: Path, names: Sequence[str], rng: random.Random) -> list[Row]:
    """The rows of some files of DATA that anyone may train on, shuffled. Raises DataError."""
    if not data.is_dir():
        raise DataError(f"no data folder {data.name}; expected one as docs/data.md describes")
    rows = [
        row
        for name in names
        for row in read_rows(data / f"{name}.jsonl.gz")
        if row.licence == "permissive"
    ]
    rng.shuffle(rows)
    return rows


def capped(rows: Iterable[Row], caps: Mapping[str, int], *, by_label: bool = False) -> list[Row]:
    """Each pair once, and no more rows of a source (and label) than `caps` allows it."""
    taken: Counter[tuple[str, int | None]] = Counter()
    kept, seen = [], set()
    for row in rows:
        key = (row.source, row.label if by_label else None)
        if row.pair in seen or taken[key] >= caps.get(row.source, sys.maxsize):
            continue
        taken[key] += 1
        seen.add(row.pair)
        kept.append(row)
    return kept


def write_folder(
    out: Path,
    files: Mapping[str, Sequence[Row]],
    configs: Mapping[str, str],
    backbone: Callable[[str], bytes],
) -> int:
    """Write rows, configs and the starting student to the new folder OUT; the number of rows.

    `backbone` gives the content of a file of the student. Raises OutputExistsError.
    """
    refuse_existing(out)
    with new_folder(out) as aside:
        for name, rows in files.items():
            with (aside / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
        (aside / "student").mkdir()
        for name in BACKBONE_FILES:
            (aside / "student" / name).write_bytes(backbone(name))
        for name, text in configs.items():
            (aside / f"{name}.toml").write_text(text, encoding="utf-8")
    return sum(map(len, files.values()))


def distill_toml(
    name: str,
    backbone: str,
    *,
    lr: str,
    epochs: int,
    warmup_steps: int,
    owner: str = "sentence-transformers",
    licence: str = "Apache-2.0",
    version: str = "0.1.0",
    frozen_layers: int = 0,
    rows: Sequence[str] = ("train.jsonl",),
    limits: str = "",
) -> str:
    """The config of the guard `name`'s run on the files `rows`; `lr` as TOML writes it.

    `limits`: what its model card says that it cannot do.
    """
    limited = f"limits = {json.dumps(limits)}\n" if limits else ""
    return f"""\
# The {name} guard: {backbone} on permissive rows.
save_minutes = 10.0

[student]
path = "student"
max_tokens = {MAX_TOKENS}
dropout = 0.0
frozen_layers = {frozen_layers}

[data]
train = {json.dumps(list(rows))}
licences = ["permissive"]

[optim]
lr = {lr}
epochs = {epochs}
batch_rows = 32
device_rows = 32
warmup_steps = {warmup_steps}
weight_decay = 0.01
seed = 0

[card]
name = "{name}"
version = "{version}"
status = "release"
licence = "Apache-2.0"
base_model = "{owner}/{backbone} ({licence})"
recipe = "scripts/train_guard {name}"
{limited}"""


def label_toml(name: str, teacher: Path) -> str:
    """The plan by which the bundle `teacher` labels the rows of the guard `name`."""
    return f"""\
# A guard's scores are the {name} guard's soft labels: `harmguard train label`.
name = "{name}"

[label]
kind = "bundle"

[label.model]
path = {json.dumps(str(teacher.resolve()))}
"""


def shortened(row: Row, rng: random.Random) -> Row:
    """The row, or the row with its last text cut at a space; both texts keep something."""
    excess = len(row.prompt) + len(row.response or "") - SHORTENED_CHARS
    if excess <= 0 or rng.random() > SHORTENED_SHARE:
        return row
    text = row.prompt if row.response is None else row.response
    cut = text[: max(len(text) - excess, 200)].rsplit(" ", 1)[0]
    return replace(row, prompt=cut) if row.response is None else replace(row, response=cut)


def pair_prompts(rows: Sequence[Row], sources: Sequence[str], label: int, limit: int) -> list[Row]:
    """Prompts of pairs as rows of their own, each prompt once."""
    seen = {row.prompt for row in rows if row.kind == "prompt"}
    made: list[Row] = []
    for row in rows:
        wanted = row.kind == "exchange" and row.label == label and row.source in sources
        if wanted and row.prompt not in seen and len(made) < limit:
            seen.add(row.prompt)
            made.append(replace(row, id=f"{row.id}/prompt", response=None, task="prompt", tier="B"))
    return made


def refused(rows: Sequence[Row], rng: random.Random, limit: int) -> list[Row]:
    """Harmful prompts with a refusal of ours: the exchange is benign."""
    prompts = [row for row in rows if row.kind == "prompt" and row.label == 1]
    return [
        replace(row, id=f"{row.id}/refused", response=rng.choice(REFUSALS), label=0,
                task="response", tier="B")
        for row in rng.sample(prompts, min(limit, len(prompts)))
    ]  # fmt: skip


def long_rows(
    rows: Sequence[Row], rng: random.Random, *, prompts: int, exchanges: int
) -> list[Row]:
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
    for i, row in enumerate(rng.sample(needles, min(prompts, len(needles)))):
        text = hay(benign + answers, row.prompt, _window_chars(rng), rng)
        made.append(replace(row, id=f"{row.id}/long", prompt=text, tier="B"))
        text = hay(benign + answers, "", _window_chars(rng), rng)
        made.append(Row(f"long/{i}", text, None, 0, source="long_benign", tier="A",
                        licence="permissive", lang="en", task="prompt"))  # fmt: skip
    for row in rng.sample(harmful, min(exchanges, len(harmful))):
        text = hay(answers, row.response or "", _window_chars(rng), rng)
        made.append(replace(row, id=f"{row.id}/long", response=text, tier="B"))
    for row in rng.sample(quiet, min(2 * exchanges, len(quiet))):
        text = hay(answers, row.response or "", _window_chars(rng), rng)
        made.append(replace(row, id=f"{row.id}/long", response=text))
    return made


def _window_chars(rng: random.Random) -> float:
    """Characters of a random length within one window."""
    return rng.uniform(150, MAX_TOKENS - 60) * CHARS_PER_TOKEN


def hay(passages: Sequence[str], needle: str, chars: float, rng: random.Random) -> str:
    """Benign passages of `chars` characters in all, `needle` among them."""
    size = chars - len(needle)
    parts: list[str] = []
    while size > 0:
        part = rng.choice(passages)[: max(int(size), 40)]
        parts.append(part)
        size -= len(part) + 1
    if needle:
        parts.insert(rng.randint(0, len(parts)), needle)
    return rng.choice((" ", "\n", "\n\n")).join(parts)


def held_out_files(data: Path) -> list[Path]:
    """The files that no made row may come close to."""
    validation = [
        path for name in ("val", "val_more") if (path := data / f"{name}.jsonl.gz").exists()
    ]
    return [*validation, *sorted((data / "report").glob("*.jsonl.gz"))]


def held_out_prompts(data: Path) -> list[str]:
    """The prompts of those files."""
    return [row.prompt for path in held_out_files(data) for row in read_rows(path)]
