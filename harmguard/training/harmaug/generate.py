"""Stage 1: an LLM, its answer begun for it, writes more harmful instructions (HarmAug, 3.1)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmguard.errors import DataError, GenerationError
from harmguard.rows import Row
from harmguard.training.harmaug import diversity
from harmguard.training.harmaug.engines import executor
from harmguard.training.harmaug.filters import Sieve, instruction_of
from harmguard.training.harmaug.inference import Continue, seed_of
from harmguard.training.harmaug.plan import Plan
from harmguard.training.harmaug.provenance import request_of
from harmguard.training.models import identity
from harmguard.training.stage import REASON, Item, Stage
from harmguard.training.stage_inputs import read_inputs

PICTURE = "diversity.png"
SURPLUS = "surplus"  # reason: accepted, when enough had been accepted before it
FIRST_BLOCKS = 4  # asked for before anything is known of the generator


@dataclass(frozen=True)
class _Ask:
    """One request to the generator."""

    id: str
    exemplars: tuple[str, ...]
    request: str
    prefix: str

    @property
    def item(self) -> Item:
        return {"id": self.id, "request": self.request, "prefix": self.prefix}


def generate(plan: Plan, out: Path) -> dict[str, Any]:
    """Write `out/rows.jsonl`, the kept instructions as rows without labels; the manifest.

    Raises DataError when the labelled rows hold too few exemplars, GenerationError when no
    answer so far has a text, or too few are kept within `generate.max_attempts`: a larger one
    goes on from there.
    """
    settings = plan.generate
    rows = [row for part in read_inputs([Path(p) for p in plan.labelled]) for row in part]
    models = {"model": identity(settings.model)}
    with Stage(out, request_of(plan, "generate", plan.labelled, models)) as stage:
        if stage.manifest:
            return stage.manifest
        asker = _Asker(plan, rows)
        harmful = _Round(stage, plan)
        while len(harmful.kept) < settings.count:
            size = harmful.next_size()
            if size == 0:
                raise GenerationError(
                    f"{len(harmful.kept)} of {settings.count} instructions after "
                    f"{harmful.asked} attempts ({_counts(harmful.reasons)}); expected "
                    "all of them; likely a generator that refuses, or filters too narrow"
                )
            harmful.run([asker.harmful(i) for i in range(harmful.asked, harmful.asked + size)])
            if not harmful.texts:
                raise no_text("answers", harmful.reasons)
        harmful.cut(settings.count)
        kept = harmful.kept
        bare = _Round(stage, plan)
        bare.run([asker.bare(i) for i in range(settings.bare)])
        benign = _Round(stage, plan)
        wanted = round(settings.benign * settings.count)
        benign.run([asker.benign(name, text) for name, text in kept[:wanted]])
        summary = _summary(harmful, bare, benign, settings.bare)
        exemplars, texts = asker.harmful_pool, [text for _, text in kept]
        summary["diversity"] = diversity.figures(exemplars, texts, plan.seed)
        diversity.draw(out / PICTURE, exemplars, texts, plan.seed)
        made = [_row(i, t, "harmaug", settings.licence) for i, t in kept]
        made += [_row(i, t, "harmaug-benign", settings.licence) for i, t in benign.kept]
        rejects = [*harmful.rejects, *bare.rejects, *benign.rejects]
        return stage.finish(made, rejects, summary)


class _Asker:
    """Requests by number: the exemplars of each depend on the seed and its id alone."""

    def __init__(self, plan: Plan, rows: Sequence[Row]) -> None:
        self._plan, self._settings = plan, plan.generate
        self.harmful_pool = self._texts(rows, 1, self._settings.exemplars)
        needed = self._settings.exemplars if self._settings.benign else 0
        self._benign_pool = self._texts([r for r in rows if r.response is None], 0, needed)

    def harmful(self, number: int) -> _Ask:
        return self._ask("harmful", number, self._settings.prefix)

    def bare(self, number: int) -> _Ask:
        return self._ask("bare", number, "")

    def benign(self, harmful: str, instruction: str) -> _Ask:
        # Named after its harmful one: which are kept may change when a server refuses fewer.
        name = f"benign-{harmful}"
        exemplars = self._drawn(name, self._benign_pool)
        request = filled(self._settings.benign_request, exemplars, instruction)
        # A counterpart that repeats the instruction would be a harmful text called benign.
        return _Ask(name, (instruction, *exemplars), request, self._settings.prefix)

    def _ask(self, kind: str, number: int, prefix: str) -> _Ask:
        first = number - number % self._settings.answers
        exemplars = self._drawn(f"{kind}-{first:07}", self.harmful_pool)
        request, begun = (filled(t, exemplars, "") for t in (self._settings.request, prefix))
        return _Ask(f"{kind}-{number:07}", exemplars, request, begun)

    def _texts(self, rows: Sequence[Row], label: int, needed: int) -> list[str]:
        # No longer than an answer may be: each is read again for every request.
        most = self._settings.filters.max_words
        found = list(
            dict.fromkeys(
                row.prompt for row in rows if row.hard == label and len(row.prompt.split()) <= most
            )
        )
        if len(found) < needed:
            kind = "harmful" if label else "benign"
            raise DataError(
                f"{len(found)} different {kind} prompts of at most {most} words in the labelled "
                f"rows; expected at least {needed}, the exemplars of one request"
            )
        return found

    def _drawn(self, name: str, pool: Sequence[str]) -> tuple[str, ...]:
        rng = random.Random(seed_of(self._plan.seed, f"exemplars {name}"))
        return tuple(rng.sample(pool, self._settings.exemplars))


class _Round:
    """Answers of one kind and what the sieve made of them, in the order of asking."""

    def __init__(self, stage: Stage, plan: Plan) -> None:
        self._stage, self._plan = stage, plan
        self._sieve = Sieve(plan.generate.filters, plan.seed)
        self.kept: list[tuple[str, str]] = []
        self.verdicts: dict[str, str | None] = {}  # by id: the reason, None for a kept one
        self.texts = 0  # answers that are not empty

    @property
    def asked(self) -> int:
        return len(self.verdicts)

    @property
    def reasons(self) -> Counter[str]:
        return Counter(reason for reason in self.verdicts.values() if reason)

    @property
    def rejects(self) -> list[Item]:
        return [{"id": name, "reason": why} for name, why in self.verdicts.items() if why]

    def next_size(self) -> int:
        """How many answers to ask for next: what is missing, at the rate so far."""
        settings, block = self._plan.generate, self._plan.engine.block_rows
        missing = settings.count - len(self.kept)
        if self.kept:
            # Not all at once on the word of a first few.
            size = min(-(-missing * self.asked // len(self.kept)), max(missing * 2, block))
        else:
            # A generator that gives nothing is named early; twice as many as before each time.
            size = min(missing, max(FIRST_BLOCKS * block, self.asked))
        # Whole blocks only, so that more attempts later leave no block cut otherwise.
        most = max(settings.max_attempts // block, 1) * block
        return min(-(-size // block) * block, most - self.asked)

    def run(self, asks: Sequence[_Ask]) -> None:
        plan = self._plan
        work = Continue(plan.engine, plan.generate.model, plan.generate.sampling, plan.seed)
        results = self._stage.run([ask.item for ask in asks], *executor(plan.engine, work))
        for ask, result in zip(asks, results, strict=True):
            answer = result.get("text", "")
            self.texts += bool(answer.strip())
            text = instruction_of(answer)
            reason = result.get(REASON) or self._sieve.reason(text, ask.exemplars)
            self.verdicts[ask.id] = reason
            if reason is None:
                self.kept.append((ask.id, text))

    def cut(self, count: int) -> None:
        """Keep the first `count`; the others were good, and one round too many."""
        self.verdicts |= {name: SURPLUS for name, _ in self.kept[count:]}
        del self.kept[count:]


def no_text(what: str, reasons: Counter[str]) -> GenerationError:
    """The error for results that all lack a text; `reasons` counts why."""
    return GenerationError(
        f"no text in {reasons.total()} {what} ({_counts(reasons)}); expected some; likely a chat "
        "template of another model, one whose turn ends at once, or a server with other limits"
    )


def filled(template: str, exemplars: Sequence[str], instruction: str) -> str:
    """A request with its {exemplars}, numbered, and its {instruction} put in."""
    listed = "\n".join(f"{i}. {text}" for i, text in enumerate(exemplars, 1))
    # In one pass, so that braces inside a text stay what they are.
    parts = template.split("{exemplars}")
    return listed.join(part.replace("{instruction}", instruction) for part in parts)


def _row(name: str, text: str, source: str, licence: str) -> Item:
    return {"id": name, "prompt": text, "source": source, "licence": licence, "task": "prompt"}


def _summary(harmful: _Round, bare: _Round, benign: _Round, like: int) -> dict[str, Any]:
    """Counts per kind; acceptance with and without the prefix over as many answers of each."""

    def about(part: _Round) -> dict[str, Any]:
        return {
            "asked": part.asked,
            "kept": len(part.kept),
            "removed": dict(sorted(part.reasons.items())),
        }

    def rate(verdicts: Sequence[str | None]) -> float | None:
        good = sum(v in (None, SURPLUS) for v in verdicts)
        return round(good / len(verdicts), 4) if verdicts else None

    with_prefix = list(harmful.verdicts.values())

    return {
        "harmful": about(harmful),
        "without_prefix": about(bare),
        "benign": about(benign),
        "acceptance": {
            "with_prefix": rate(with_prefix[:like] or with_prefix),
            "without_prefix": rate(list(bare.verdicts.values())),
        },
    }


def _counts(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in sorted(reasons.items()))
