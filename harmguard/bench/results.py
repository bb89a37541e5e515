"""What a measurement gives, typed as its JSON is. A part that could not be measured is `Failed`."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict, final

Step = Literal["python", "import", "load", "first_score", "total"]
STEPS: tuple[Step, ...] = ("python", "import", "load", "first_score", "total")
State = Literal["import", "load", "first_score", "long_score", "batch"]
STATES: tuple[State, ...] = ("import", "load", "first_score", "long_score", "batch")


@final
class Failed(TypedDict):
    """Why a part has no figures: the error's class and message."""

    error: str


@final
class Timing(TypedDict):
    """`stats.Summary` in the unit of its part."""

    n: int
    median: float
    p90: float
    p99: float | None
    spread: float


@final
class Noise(TypedDict):
    """The largest spread of the latencies, beside the bound for a quiet machine."""

    bound: float
    worst_spread: float | None
    noisy: bool


class Machine(TypedDict):
    """Hardware, system and versions; None is what the system does not tell."""

    cpu: str | None
    features: list[str] | None
    features_asked: list[str] | None
    cores: int | None
    cores_allowed: float
    memory_mb: int | None
    memory_limit_mb: int | None
    os: str
    python: str
    packages: dict[str, str | None]
    load_average: float | None
    noise: NotRequired[Noise]


class Golden(TypedDict):
    """How near a guard is to its recorded scores."""

    rows: int
    worst_error: float


class Artefact(TypedDict):
    """Which bundle was measured."""

    name: str
    version: str
    status: str
    recipe: str
    bytes: int
    sha256: dict[str, str]
    golden: NotRequired[Golden]


@final
class SmallDevice(TypedDict):
    """Milliseconds by tokens, within these bounds."""

    cores: int | None
    limit_mb: float | None
    limited: bool
    tokens: dict[str, Timing]


class Latency(TypedDict):
    """Milliseconds by threads and tokens, special tokens counted; or why there are none."""

    threads: NotRequired[dict[str, dict[str, Timing | Failed]]]
    error: NotRequired[str]
    small_device: NotRequired[SmallDevice | Failed]


@final
class Throughput(TypedDict):
    """Pairs in a second, in bulk and one by one."""

    threads: int
    pairs: int
    tokens: list[int]
    score_many_pairs_per_s: float
    one_by_one_pairs_per_s: float
    rounds_s: dict[str, list[float]]


Startup = dict[Step, Timing]
"""Seconds of each step from before the process exists to its first score."""


MemoryKind = Literal["anonymous", "file", "pss", "peak", "peak_anonymous"]


class StateMemory(TypedDict):
    """MB of a process; None is what the system does not tell."""

    anonymous: float | None
    file: float | None
    pss: float | None
    peak: float | None
    peak_anonymous: float | None


# The syntax of classes has no room for a key that is a keyword.
Memory = TypedDict(
    "Memory",
    {
        "import": StateMemory,
        "load": StateMemory,
        "first_score": StateMemory,
        "long_score": StateMemory,
        "batch": StateMemory,
        "long_tokens": int,
        "batch_pairs": int,
    },
)
"""Memory by state, a process for each."""


class Measurement(TypedDict):
    """All that `harmguard bench --json` prints."""

    machine: Machine
    bundle: Artefact
    latency_ms: Latency
    throughput: Throughput | Failed
    startup_s: Startup | Failed
    memory_mb: Memory | Failed
