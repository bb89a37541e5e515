"""One bundle, the same verdicts on other processors? Scores under emulators against the native run.

    python -m benchmarks portability harmguard/models/mini \
        --cpu "haswell=qemu-x86_64 -cpu Haswell python" --cpu "a76=./arm64-python cortex-a76"

docs/portability.md says how to get the emulators. A COMMAND starts a Python that has onnxruntime,
tokenizers and numpy; harmguard's source is this checkout's. Needs the extra `export`. The pairs
are the bundle's golden ones, filled up to 50 with the export's own benign ones, and with
HARMGUARD_DATA set the rows of the development set whose scores are nearest to the threshold.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from harmguard_export.pairs import read_pairs

from benchmarks.harness.command import Benchmark, takes_bundle
from benchmarks.harness.data import data_given, val_rows
from benchmarks.harness.errors import ScoresDifferError, WorkerError
from benchmarks.harness.results import ROOT, Run, say
from benchmarks.runtimes.onnx_models import product
from benchmarks.runtimes.sameness import Distance
from harmguard import HarmGuard
from harmguard.bench.markdown import table
from harmguard.bundle import Bundle, open_bundle
from harmguard.inputs import Pair
from harmguard.rows import Row

LIMIT = 0.02
"""The most that a score may differ, and the distance from a threshold where none may flip."""
PAIRS, QUICK_PAIRS = 50, 6
NEAR = 50
SEED = 4
CANDIDATES = 1500
MOST_CHARACTERS = 1200
"""Longer pairs are left out: an emulator is some 50 times as slow."""
NATIVE = "native"
TIMEOUT_S = 3600
_START = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from benchmarks.processors._emulated import main; main()"
)


@dataclass(frozen=True)
class Cpu:
    """A processor by name, and what starts a Python on it."""

    name: str
    command: tuple[str, ...]


PairOf = TypedDict("PairOf", {"from": str, "kind": str, "score": float})
"""Where a pair is from, which thresholds judge it, its score in the native run."""


class Compared(TypedDict):
    """How scores differ from the native run."""

    difference: Distance
    flips: int
    far_flips: int


class Scored(Compared):
    """One processor's scores; `times_plain` is what the option costs."""

    load_s: float
    s_per_pair: float
    times_plain: float
    probe: float
    scores: list[float]


class Processor(TypedDict):
    """One processor's answer; its runs are "plain" and, on x86, "precise"."""

    command: str
    machine: str
    features: list[str]
    versions: dict[str, str]
    runs: dict[str, Scored]


class Portability(TypedDict):
    """The raw result."""

    limit: float
    pairs: list[PairOf]
    cpus: dict[str, Processor]
    passed: NotRequired[bool]
    failed: NotRequired[list[str]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE and processors."""
    takes_bundle(parser)
    parser.add_argument(
        *("--cpu", "--emulator"),
        type=cpu,
        action="append",
        required=True,
        metavar="NAME=COMMAND",
        help="COMMAND starts a Python on the processor; may be given several times",
    )
    parser.set_defaults(threads=1)


def measure(run: Run) -> Portability:
    """Score the pairs on each processor; one whose command fails is left out, and named."""
    bundle = open_bundle(run.options.bundle)
    pairs = chosen_pairs(bundle, quick=run.quick)
    request = {
        "bundle": str(bundle.folder.resolve()),
        "pairs": [pair for _, pair in pairs],
        "threads": run.options.threads,
        "probe": base64.b64encode(saturating_model()).decode(),
    }
    native = ask(Cpu(NATIVE, (sys.executable,)), request)
    figures: Portability = {"limit": LIMIT, "pairs": [], "cpus": {}, "passed": False}
    for (origin, pair), score in zip(pairs, native["runs"]["plain"]["scores"], strict=True):
        figures["pairs"].append({"from": origin, "kind": kind_of(pair), "score": score})
    for one in [Cpu(NATIVE, ("python",)), *run.options.cpu]:
        try:
            reply = native if one.name == NATIVE else ask(one, request)
        except WorkerError as error:
            # The others' minutes are not thrown away.
            figures.setdefault("failed", []).append(str(error))
            continue
        for own in reply["runs"].values():
            differences = compared(bundle, figures["pairs"], own["scores"])
            own["difference"] = differences["difference"]
            own["flips"], own["far_flips"] = differences["flips"], differences["far_flips"]
        figures["cpus"][one.name] = {**reply, "command": shown(one.command)}
    figures["passed"] = not missed_limits(figures["cpus"]) and "failed" not in figures
    return figures


def ended(result: Portability, _: Run) -> int:
    """ScoresDifferError if a limit is missed, WorkerError if a processor's command failed."""
    missed = missed_limits(result["cpus"])
    if missed:
        raise ScoresDifferError(
            f"{'; '.join(missed)}; expected at most {LIMIT:g}, and no flip of a pair further than "
            "that from a threshold; likely weights that saturate, or kernels of another arithmetic"
        )
    if "failed" in result:
        raise WorkerError("; ".join(result["failed"]))
    return 0


def cpu(text: str) -> Cpu:
    """NAME=COMMAND, the command split as a shell does."""
    name, _, command = text.partition("=")
    if not name or not command.strip() or name == NATIVE:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND with a name of its own")
    return Cpu(name, tuple(shlex.split(command)))


def shown(command: Sequence[str]) -> str:
    """The command without the folders of this machine."""
    return shlex.join(Path(word).name if "/" in word else word for word in command)


def chosen_pairs(bundle: Bundle, *, quick: bool) -> list[tuple[str, Pair]]:
    """Pairs with where they are from: golden, benign, or near (with HARMGUARD_DATA)."""
    rows = map(json.loads, bundle.path("golden.jsonl").read_bytes().splitlines())
    golden = [pair for row in rows if short(pair := (row["prompt"], row["response"]))]
    benign = [pair for pair in read_pairs(None).pairs if pair not in golden and short(pair)]
    wanted = QUICK_PAIRS if quick else PAIRS
    chosen: list[tuple[str, Pair]]
    chosen = [("golden", pair) for pair in (golden[:wanted] if quick else golden)]
    chosen += [("benign", pair) for pair in benign[: max(0, wanted - len(chosen))]]
    if data_given():
        near = nearest(bundle, val_rows(), QUICK_PAIRS if quick else NEAR)
        chosen += [("near", pair) for pair in near]
    return chosen


def nearest(bundle: Bundle, rows: Sequence[Row], count: int) -> list[Pair]:
    """Of CANDIDATES rows in a fixed random order, those nearest to the default threshold."""
    pairs = [pair for row in rows if short(pair := (row.prompt, row.response))]
    random.Random(SEED).shuffle(pairs)
    pairs = pairs[:CANDIDATES]
    say(f"looking for pairs near the threshold among {len(pairs)}")
    with HarmGuard(bundle.folder) as guard:
        verdicts = guard.check_many(pairs)
    distances = [abs(verdict.score - verdict.threshold) for verdict in verdicts]
    return [pairs[i] for i in np.argsort(distances, kind="stable")[:count].tolist()]


def short(pair: Pair) -> bool:
    """Whether an emulator can score the pair in a moment."""
    return len(pair[0]) + len(pair[1] or "") <= MOST_CHARACTERS


def kind_of(pair: Pair) -> str:
    """Which of the bundle's thresholds judges the pair."""
    return "prompt" if pair[1] is None else "exchange"


def saturating_model() -> bytes:
    """A product of 8-bit integers that adds up wrongly wherever a processor saturates 16 bits.

    It shows that the emulated processor has no VNNI, and that the option works on it.
    """
    return product(np.full((64, 16), 127, np.int8), "rows")


def ask(one: Cpu, request: Mapping[str, Any]) -> Processor:
    """The reply of `_emulated.answer` on the processor. WorkerError with the last of its stderr."""
    say(f"{one.name}: {len(request['pairs'])} pairs")
    start = _START.format(root=str(ROOT))
    try:
        done = subprocess.run(
            [*one.command, "-c", start],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=TIMEOUT_S,
            check=False,
        )
        reply: Processor = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkerError(
            f"{one.name}: {shown(one.command)} did not run ({type(error).__name__}); expected a "
            "command that starts Python; likely a wrong path, or an emulator that hangs"
        ) from None
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        raise WorkerError(
            f"{one.name}: {shown(one.command)} gave no scores, exit status {done.returncode} "
            f"({last[:300]}); expected a Python with onnxruntime, tokenizers and numpy; likely a "
            "package of another processor, or an emulator too old"
        ) from None
    return reply


def compared(bundle: Bundle, pairs: Sequence[PairOf], scores: Sequence[float]) -> Compared:
    """Differences to the native scores, and flips at every operating point of the bundle.

    `flips` counts pairs and points; `far_flips` those further than LIMIT from their threshold.
    """
    differences = np.abs(np.array(scores) - [pair["score"] for pair in pairs])
    flips = far = 0
    for pair, score in zip(pairs, scores, strict=True):
        for point in bundle.manifest.thresholds[pair["kind"]].values():
            flipped = (score >= point.value) != (pair["score"] >= point.value)
            flips += flipped
            far += flipped and abs(pair["score"] - point.value) > LIMIT
    return {
        "difference": {"max": float(differences.max()), "mean": float(differences.mean())},
        "flips": flips,
        "far_flips": far,
    }


def missed_limits(cpus: Mapping[str, Processor]) -> list[str]:
    """What of the runs as the product makes them misses a limit; the option's are for knowing."""
    missed = []
    for name, cpu in cpus.items():
        run = cpu["runs"]["plain"]
        if not run["difference"]["max"] <= LIMIT or run["far_flips"]:
            missed.append(
                f"{name}: scores differ by {run['difference']['max']:.4f}, "
                f"{run['far_flips']} far flips"
            )
    return missed


HEAD = (
    *("processor", "largest difference", "mean", "flips", "far flips"),
    *("probe", "s / pair", "times plain"),
)
_FROM = {
    "golden": "golden pairs of the bundle",
    "benign": "benign pairs of the export",
    "near": "rows of the development set nearest to the threshold",
}


def tables(result: Portability) -> str:
    """A row for each processor, and one more where onnxruntime's exact products were asked for."""
    rows = []
    for name, cpu in result["cpus"].items():
        title = f"{name} ({', '.join([cpu['machine'], *cpu['features']])})"
        for kind, run in cpu["runs"].items():
            rows.append(_row(title if kind == "plain" else f"{name}, x64quantprecision", run))
    counts = Counter(pair["from"] for pair in result["pairs"])
    pairs = ", ".join(f"{count} {_FROM[origin]}" for origin, count in counts.items())
    return (
        f"{table(HEAD, rows)}\n\n"
        f"Pairs: {pairs}. Difference: of the scores, to the native run. Flips: decisions that are "
        "others, over the pairs and every operating point; far: further than "
        f"{result['limit']:g} from the threshold. Probe: what a product of the largest 8-bit "
        "integers gives of the right result; below 1 the processor saturates. Seconds under an "
        "emulator tell nothing about the processor. Times plain: seconds with the option over "
        "those without, the median over the pairs, one pair with either in turn."
    )


def _row(title: str, run: Scored) -> list[str]:
    return [
        title,
        *(f"{run['difference']['max']:.5f}", f"{run['difference']['mean']:.5f}"),
        *(str(run["flips"]), str(run["far_flips"])),
        f"{run['probe']:.3f}",
        f"{run['s_per_pair']:.3f}",
        f"{run['times_plain']:.2f}",
    ]


COMMAND = Benchmark(__name__, arguments, measure, tables, ended=ended)
