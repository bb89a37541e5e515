"""A small DeBERTa-v3 that is a real classifier, and the same with outliers in its activations.

    python -m benchmarks small_deberta start MINI DATA OUT
    harmguard train distill OUT/distill.toml --out RUN          # (a): RUN/student
    python -m benchmarks small_deberta inject RUN/student OUT2 --rows OUT/train.jsonl
    python -m benchmarks small_deberta mend RUN/student OUT2 --rows OUT/train.jsonl
                                                                # (b): OUT2/mended

The real student has 435M parameters and a licence of its own; these two show what quantisation
does to its kind. MINI is a trained mini guard's checkpoint (scripts/train_mini): its layers are the
start of DeBERTa's, which adds a relative-position table and a tokenizer of its own, a Unigram.

Activation outliers of trained transformers sit in a few channels of the residual stream at almost
every layer (Dettmers et al. 2022, arXiv:2208.07339; Kovaleva et al. 2021, arXiv:2105.06990).
DeBERTa is post-LN: a LayerNorm's output also feeds the residual, so scaling its channels changes
the function, and a brief training has to bring it back: `mend` draws every LayerNorm's output and
the logits to those of the checkpoint before. docs/experiments.md says how far it did.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import normalizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer
from tqdm import tqdm
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
)

from benchmarks.checkpoints._outliers import FACTORS, scale_layer_norms
from benchmarks.checkpoints._unigram_tokenizer import SPECIALS, fast, unigram
from benchmarks.harness.command import Script
from benchmarks.harness.data import write_rows
from benchmarks.harness.results import INPUTS, read_json, write_json
from harmguard.checkpoint import Checkpoint, load_student
from harmguard.rows import read_rows

VOCABULARY, MAX_TOKENS, ROWS, SEED = 8192, 128, 16_000, 5
MEND_ROWS, MEND_LR = 32, 2e-4
FIELDS = read_json(INPUTS / "shapes.json")["deberta"] | {
    "vocab_size": VOCABULARY, "id2label": {0: "safe", 1: "harmful"}
}  # fmt: skip
SAME = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings")  # fmt: skip
TABLE_SCALE = 0.1  # of the relative-position table at the start: a small disturbance


def start(mini: Path, data: Path, out: Path) -> None:
    """Write OUT: rows, a tokenizer of theirs, a DeBERTa that begins as `mini`, and the config."""
    rows = [
        row for name in ("train", "benign_prompts") for row in read_rows(data / f"{name}.jsonl.gz")
    ]
    texts = [text for row in rows for text in row.pair if text]
    rows = random.Random(SEED).sample(rows, ROWS)
    out.mkdir(parents=True)
    write_rows(out / "train.jsonl", rows)
    tokenizer = _tokenizer(texts)
    _converted(mini, tokenizer).save_pretrained(out / "student")
    tokenizer.save_pretrained(str(out / "student"))
    template = (INPUTS / "small_deberta.toml").read_text(encoding="utf-8")
    config = template.format(tokens=MAX_TOKENS, seed=SEED)
    (out / "distill.toml").write_text(config, encoding="utf-8")


def _converted(mini: Path, tokenizer: Any) -> Any:
    """A DeBERTa whose layers are those of `mini`, a BERT; its head and table are new."""
    source: Any = BertForSequenceClassification.from_pretrained(mini)
    torch.manual_seed(SEED)
    fields = {name: getattr(source.config, name) for name in SAME}
    hidden = source.config.hidden_size
    model: Any = DebertaV2ForSequenceClassification(
        DebertaV2Config(**{**FIELDS, **fields}, pooler_hidden_size=hidden)
    )
    old, new = source.bert, model.deberta
    with torch.no_grad():
        words = _piece_embeddings(mini, old.embeddings.word_embeddings.weight, tokenizer)
        # What every position and the first segment have in common is part of a word here.
        words += old.embeddings.position_embeddings.weight.mean(0)
        words += old.embeddings.token_type_embeddings.weight[0]
        new.embeddings.word_embeddings.weight.copy_(words)
        new.embeddings.LayerNorm.load_state_dict(old.embeddings.LayerNorm.state_dict())
        for one, other in zip(old.encoder.layer, new.encoder.layer, strict=True):
            for name in ("query", "key", "value"):
                target = getattr(other.attention.self, f"{name}_proj")
                target.load_state_dict(getattr(one.attention.self, name).state_dict())
            # Three terms share DeBERTa's scores: it divides by sqrt(3 d), BERT by sqrt(d).
            other.attention.self.query_proj.weight *= 3**0.5
            other.attention.self.query_proj.bias *= 3**0.5
            for path in ("attention.output.dense", "attention.output.LayerNorm",
                         "intermediate.dense", "output.dense", "output.LayerNorm"):  # fmt: skip
                state = one.get_submodule(path).state_dict()
                other.get_submodule(path).load_state_dict(state)
        new.encoder.LayerNorm.weight.fill_(TABLE_SCALE)
    return model


def _piece_embeddings(mini: Path, table: Any, tokenizer: Any) -> Any:
    """Rows for the new pieces [pieces, hidden]: the mean of the old pieces that spell each."""
    old = AutoTokenizer.from_pretrained(mini)
    rows = []
    for id_ in range(VOCABULARY):
        piece = str(tokenizer.convert_ids_to_tokens(id_))
        if piece in SPECIALS:
            ids = [old.convert_tokens_to_ids(piece)]
        else:
            inner = not piece.startswith("\u2581")
            known = old.convert_tokens_to_ids(f"##{piece.lower()}") if inner else None
            usable = known is not None and known != old.unk_token_id
            ids = [known] if usable else old.encode(piece.strip("\u2581"), add_special_tokens=False)
        rows.append(table[ids or [old.unk_token_id]].mean(0))
    return torch.stack(rows)


def _tokenizer(texts: Sequence[str]) -> Any:
    """A Unigram tokenizer with DeBERTa-v3's steps and template."""
    tokenizer = unigram(Unigram(), normalizers.Nmt(), normalizers.NFKC())
    trainer = UnigramTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIALS), unk_token="[UNK]", show_progress=False
    )
    texts = [text[:500] for text in random.Random(SEED).sample(texts, min(len(texts), 20_000))]
    counts = Counter(tokenizer.normalizer.normalize_str("".join(texts)))
    rare = str.maketrans(dict.fromkeys(c for c, n in counts.items() if n < 30))
    tokenizer.train_from_iterator((text.translate(rare) for text in texts), trainer)
    return fast(512, tokenizer_object=tokenizer)


def inject(checkpoint: Path, out: Path, rows: Path) -> dict[str, Any]:
    """Write OUT/student, the checkpoint with outlier channels, and the config that mends it.

    `_outliers.FACTORS` times larger are, after both LayerNorms of every layer but the last output,
    the channels that vary least beside their mean: real outliers are nearly constant, and what
    varies would change how far the next LayerNorm scales its other channels from token to token.
    Then every LayerNorm's gain and bias give each channel the mean and the deviation that it had,
    or the factor's times them, measured on 256 rows. Returns the channels, and the largest
    activations before and after.
    """
    known = load_student(checkpoint, MAX_TOKENS)
    model, batch = known.model, _batch(known, rows)
    before = activations(model, batch)
    last = list(before)[-1]
    factors = dict(zip(_steady(before, last), FACTORS, strict=True))
    scale_layer_norms(model, factors)
    channels = torch.tensor(list(factors))
    scale = torch.ones(model.config.hidden_size)
    scale[channels] = torch.tensor(list(factors.values()))
    with torch.no_grad():
        for name, norm in _norms(model):
            now = activations(model, batch, only=name)[name]
            wanted = torch.ones_like(scale) if name == last else scale
            gain = wanted * (before[name]["deviation"] / now["deviation"].clamp(min=1e-6))
            norm.bias.copy_(wanted * before[name]["mean"] - gain * (now["mean"] - norm.bias))
            norm.weight.mul_(gain)
    student = out / "student"
    student.mkdir(parents=True)
    model.save_pretrained(student)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(str(student))
    after = largest(activations(model, batch))
    result = {"channels": factors, "before": largest(before), "after": after}
    write_json(out / "outliers.json", result)
    return result


def mend(checkpoint: Path, out: Path, rows: Path, steps: int) -> None:
    """Train OUT/student until it computes what `checkpoint` does, outliers and all: OUT/mended.

    The loss is the squared error of the logits and of every LayerNorm's output, as a share of the
    variance of each (as Sun et al. 2019, arXiv:1908.09355, match hidden states); the scaled
    channels are compared by their factors' part.
    """
    torch.manual_seed(SEED)
    known = load_student(checkpoint, MAX_TOKENS)
    teacher, encoder = known.model, known.encoder
    model: Any = DebertaV2ForSequenceClassification.from_pretrained(out / "student").eval()
    held = read_json(out / "outliers.json")
    scale = torch.ones(model.config.hidden_size)
    for channel, factor in held["channels"].items():
        scale[int(channel)] = factor
    windows = [encoder.encode(*row.pair).windows[0] for row in read_rows(rows)]
    last = _norms(model)[-1][0]
    scales = {name: torch.ones_like(scale) if name == last else scale for name, _ in _norms(model)}
    optimizer = torch.optim.AdamW(model.parameters(), lr=MEND_LR, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 30, (steps - step) / steps)
    )
    order = random.Random(SEED)
    batches = itertools.islice(_batches(windows, order), steps)
    with tqdm(batches, total=steps, desc="mend", file=sys.stderr) as bar:
        for part in bar:
            given = known.collate(part)
            loss = _distance(teacher, model, given, scales)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.4f}")
    model.save_pretrained(out / "mended")
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(str(out / "mended"))


def _batches(windows: Sequence[Any], order: random.Random) -> Iterator[list[Any]]:
    """Batches of windows of like lengths, in a random order, epoch after epoch."""
    rows = min(MEND_ROWS, len(windows))
    span = min(16, len(windows) // rows) * rows
    while True:
        mixed = order.sample(list(windows), len(windows))
        for first in range(0, len(mixed) - span + 1, span):
            near = sorted(mixed[first : first + span], key=lambda window: len(window.ids))
            parts = [near[i : i + rows] for i in range(0, span, rows)]
            yield from order.sample(parts, len(parts))


def _distance(teacher: Any, model: Any, given: dict[str, Any], scales: dict[str, Any]) -> Any:
    """The loss of `mend` on a batch."""
    mask = given["attention_mask"].bool()
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            expected, wanted = _run(teacher, given)
        logits, outputs = _run(model, given)
    loss = (logits - expected).square().mean() / expected.var()
    for name, scale in scales.items():
        true, ours = wanted[name].float()[mask], outputs[name].float()[mask] / scale
        loss = loss + (ours - true).square().mean() / true.var() / len(scales)
    return loss


def _run(model: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Logits, and the output of each LayerNorm."""
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda _, __, output: outputs.update({name: output})

    handles = [norm.register_forward_hook(keep(name)) for name, norm in _norms(model)]
    logits = model(**given).logits
    for handle in handles:
        handle.remove()
    return logits.float(), outputs


def _steady(seen: dict[str, dict[str, Any]], last: str) -> list[int]:
    """The channels that vary least beside their mean after every LayerNorm but the last."""
    ratios = [
        values["deviation"] / values["mean"].abs().clamp(min=1e-6)
        for name, values in seen.items()
        if name != last
    ]
    order = torch.stack(ratios).median(0).values.argsort()
    return [int(channel) for channel in order[: len(FACTORS)]]


def _norms(model: Any) -> list[tuple[str, Any]]:
    """Each LayerNorm of the layers, in the order of computation."""
    norms = []
    for index, layer in enumerate(model.deberta.encoder.layer):
        norms.append((f"{index}.attention", layer.attention.output.LayerNorm))
        norms.append((f"{index}.output", layer.output.LayerNorm))
    return norms


def _batch(known: Checkpoint, rows: Path) -> dict[str, torch.Tensor]:
    held = read_rows(rows)
    pairs = [row.pair for row in held[:: max(len(held) // 256, 1)][:256]]
    return known.collate([e.windows[0] for e in known.encode(pairs)])


def activations(
    model: Any, batch: dict[str, torch.Tensor], only: str | None = None
) -> dict[str, dict[str, Any]]:
    """Per LayerNorm: mean and deviation per channel, and the maxima per channel and per token."""
    mask = batch["attention_mask"].bool()
    with torch.inference_mode():
        _, outputs = _run(model, batch)
    seen = {}
    for name in outputs if only is None else [only]:
        real = outputs[name].detach()[mask].float()
        seen[name] = {
            "mean": real.mean(0),
            "deviation": real.std(0),
            "channel_max": real.abs().amax(0).numpy(),
            "token_max": real.abs().amax(1).numpy(),
        }
    return seen


def largest(seen: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Per LayerNorm: the largest channel maximum, the median one, the largest token maximum."""
    return {
        name: {
            "largest_channel": float(values["channel_max"].max()),
            "median_channel": float(np.median(values["channel_max"])),
            "median_token": float(np.median(values["token_max"])),
            "largest_token": float(values["token_max"].max()),
        }
        for name, values in seen.items()
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """start, inject and mend."""
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("start")
    for name in ("mini", "data", "out"):
        first.add_argument(name, type=Path)
    for name in ("inject", "mend"):
        other = commands.add_parser(name)
        other.add_argument("checkpoint", type=Path)
        other.add_argument("out", type=Path, help="a folder; of mend, what inject wrote")
        other.add_argument("--rows", type=Path, required=True)
    other.add_argument("--steps", type=int, default=300, help="of 32 rows (default: 300)")


def run(given: argparse.Namespace) -> int:
    """Run what is asked for."""
    if given.command == "start":
        start(given.mini, given.data, given.out)
    elif given.command == "mend":
        mend(given.checkpoint, given.out, given.rows, given.steps)
    else:
        print(json.dumps(inject(given.checkpoint, given.out, given.rows), indent=1))
    return 0


COMMAND = Script(__name__, arguments, run)
