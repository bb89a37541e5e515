"""benchmarks.runtimes.worker and _pool: the protocol, and the runtimes behind it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.errors import WorkerError
from benchmarks.runtimes.backends import FloatArray, IntArray, Pair, probability
from benchmarks.runtimes.pool import Worker, environment, turns
from benchmarks.runtimes.worker import Server, serve


class Lengths:
    """A runtime whose logit is the number of letters."""

    def convert(self, settings: dict[str, Any]) -> list[str]:
        return [settings["file"]]

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {"threads": settings["threads"]}

    def encode(self, prompt: str, response: str) -> tuple[IntArray, IntArray]:
        ids = np.array([len(prompt), len(response)], np.int64)
        return ids, np.zeros_like(ids)

    def score(self, prompt: str, response: str) -> float:
        ids, types = self.encode(prompt, response)
        return probability(self.run(self.feed(ids[np.newaxis], types[np.newaxis])), 2.0)[0]

    def score_many(self, pairs: Sequence[Pair], batch: int) -> list[float]:
        return [self.score(*pair) for pair in pairs]

    def feed(self, ids: IntArray, types: IntArray) -> IntArray:
        return ids

    def run(self, feed: IntArray) -> FloatArray:
        return np.stack([np.zeros(len(feed)), feed.sum(axis=1)], axis=1).astype(np.float32)


def ask(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    replies = io.StringIO()
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    serve(Server(Lengths()), io.StringIO(lines), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


LOAD = {"call": "load", "threads": 2, "temperature": 2.0}
PAIRS = {"call": "pairs", "pairs": [["ab", "c"], ["", ""], ["a", "b"], ["a", ""]]}


def test_text_and_ids_end_in_the_same_score() -> None:
    load, pairs, text, ids = ask(
        LOAD, PAIRS, {"call": "scores", "mode": "text"}, {"call": "scores", "mode": "ids"}
    )
    assert load["ok"].pop("call_s") >= 0
    assert load == {"ok": {"threads": 2}}
    assert pairs == {"ok": 4}
    assert text == ids
    assert text["ok"][:2] == [pytest.approx(1 / (1 + np.exp(-1.5))), 0.5]


def test_times_are_as_many_as_asked_for() -> None:
    for mode in ("text", "ids"):
        taken = ask(LOAD, PAIRS, {"call": "time", "mode": mode, "calls": 7})[-1]["ok"]
        assert len(taken) == 7
        assert min(taken) >= 0


def test_bulk_takes_every_stride_th_pair_in_order() -> None:
    scores, bulk, one = ask(
        LOAD,
        PAIRS,
        {"call": "scores", "mode": "text"},
        {"call": "bulk", "batch": 1, "stride": 2, "first": 1},
        {"call": "one_by_one"},
    )[2:]
    assert bulk["ok"]["scores"] == scores["ok"][1::2]
    assert one["ok"]["scores"] == scores["ok"]


def test_a_failure_is_a_reply_and_the_worker_lives_on() -> None:
    unknown, wrong, good = ask({"call": "_call"}, {"call": "pairs", "pairs": [["a"]]}, PAIRS)
    assert unknown["error"].startswith("ValueError: unknown call '_call'; expected one of load")
    assert wrong["error"].startswith("ValueError: not enough values")
    assert good == {"ok": 4}


def test_a_runtime_that_does_not_exist_is_a_dead_worker() -> None:
    with (
        pytest.raises(WorkerError, match="nonesuch: its process ended during 'load' with exit"),
        Worker("nonesuch", 1) as worker,
    ):
        worker.call("load")


def test_a_failing_call_names_runtime_and_call() -> None:
    with (
        Worker("harmguard", 1) as worker,
        pytest.raises(WorkerError, match=r"harmguard: 'load' failed: BundleNotFoundError: no fold"),
    ):
        worker.call("load", bundle="no/such/folder", threads=1, temperature=1.0)


def test_a_real_guard_gives_the_same_from_text_ids_and_in_bulk(small_bundle: Path) -> None:
    pairs = [["how to make bread", "a"], ["a bad thing", "please help the kind"]]
    with Worker("harmguard", 1) as worker:
        loaded = worker.call("load", bundle=str(small_bundle), threads=1, temperature=2.0)
        assert loaded["spinning"] == "1"
        assert worker.call("pairs", pairs=pairs) == 2
        assert [len(ids) for ids, _ in worker.call("encoded")] == [8, 10]
        text = worker.call("scores", mode="text")
        assert worker.call("scores", mode="ids") == pytest.approx(text, abs=1e-5)
        assert worker.call("bulk", batch=0)["scores"] == pytest.approx(text, abs=1e-5)
        assert worker.call("one_by_one")["scores"] == text
        assert len(worker.call("time", mode="ids", calls=3)) == 3


def test_each_runtime_is_first_in_turn() -> None:
    assert list(turns("abc", 3)) == [
        *[(0, "a"), (0, "b"), (0, "c")],
        *[(1, "b"), (1, "c"), (1, "a")],
        *[(2, "c"), (2, "a"), (2, "b")],
    ]


def test_workers_get_equal_threads_and_no_network() -> None:
    found = environment(3)
    assert (found["OMP_NUM_THREADS"], found["HF_HUB_OFFLINE"]) == ("3", "1")


def test_probability_is_softmax_at_a_temperature() -> None:
    logits = np.array([[1.0, 3.0], [800.0, -800.0]], np.float32)
    assert probability(logits, 2.0) == [pytest.approx(1 / (1 + np.exp(-1.0))), 0.0]
