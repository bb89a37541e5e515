"""The engine `ray` on a real local cluster of two workers, one of which is killed."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from harmguard.errors import EngineError, TeacherError
from harmguard.training.harmaug.engines import executor
from harmguard.training.harmaug.plan import Engine
from harmguard.training.stage import Item, Stage

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra [scale]"),
    # Ray's own, when it starts and when it makes its context.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ENGINE = Engine("ray", block_rows=4, workers=2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two nodes of one processor each, besides a head without any."""
    import ray
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ray's own, at start
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            started.add_node(num_cpus=1)
        ray.init(address=started.address, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()
    started.shutdown()


@dataclass(frozen=True)
class Slow:
    """Says which process did a row; each process leaves a file with its id in `folder`."""

    folder: str
    wait: float
    rows_apart = False

    def open(self) -> Callable[[Sequence[Item]], list[Item]]:
        (Path(self.folder) / str(os.getpid())).touch()

        def function(items: Sequence[Item]) -> list[Item]:
            time.sleep(self.wait)
            return [{"id": item["id"], "text": item["id"] * 2} for item in items]

        return function


@dataclass(frozen=True)
class Failing:
    """A teacher without words, which shows when it is opened or when it is asked."""

    opens: bool = False
    error: type[Exception] = TeacherError
    rows_apart = False

    def open(self) -> Callable[[Sequence[Item]], list[Item]]:
        if not self.opens:
            raise self.error("no words")
        return self._ask

    def _ask(self, items: Sequence[Item]) -> list[Item]:
        raise self.error(f"no words for {len(items)}")


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(cluster: None, tmp_path: Path) -> None:
    pids, out = tmp_path / "pids", tmp_path / "stage"
    pids.mkdir()
    items: list[Item] = [{"id": f"r{i:03}"} for i in range(60)]
    killed_after: list[int] = []

    def kill_one() -> None:
        journal = out / "journal.jsonl"
        while not (journal.is_file() and journal.stat().st_size and len(os.listdir(pids)) == 2):
            time.sleep(0.01)
        os.kill(int(sorted(os.listdir(pids))[0]), signal.SIGKILL)
        killed_after.append(len(journal.read_text().splitlines()))

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    with Stage(out, {"stage": "x"}) as stage:
        results = stage.run(items, *executor(ENGINE, Slow(str(pids), 0.3)))
    killer.join(10)
    assert 0 < killed_after[0] < 60
    assert results == [{"id": i["id"], "text": i["id"] * 2} for i in items]
    assert len((out / "journal.jsonl").read_text().splitlines()) == 60
    with Stage(out, {"stage": "x"}) as stage:
        stage.finish(results, [], {})
    with Stage(tmp_path / "local", {"stage": "x"}) as stage:
        local = stage.run(items, *executor(Engine(block_rows=4), Slow(str(pids), 0.0)))
        stage.finish(local, [], {})
    for name in ("rows.jsonl", "manifest.json"):
        assert (out / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


@pytest.mark.slow
def test_more_workers_than_processors(cluster: None, tmp_path: Path) -> None:
    items: list[Item] = [{"id": f"r{i:03}"} for i in range(20)]
    pids = tmp_path / "pids"
    pids.mkdir()
    with Stage(tmp_path / "stage", {"stage": "x"}) as stage:
        engine = Engine("ray", block_rows=2, workers=4)
        results = stage.run(items, *executor(engine, Slow(str(pids), 0.0)))
    assert [result["id"] for result in results] == [item["id"] for item in items]


@pytest.mark.slow
@pytest.mark.parametrize("opens", [False, True])
def test_an_error_keeps_its_name(cluster: None, tmp_path: Path, opens: bool) -> None:
    with Stage(tmp_path, {"stage": "x"}) as stage:
        with pytest.raises(TeacherError, match=r"^no words"):
            stage.run([{"id": "a"}], *executor(ENGINE, Failing(opens)))
        with pytest.raises(EngineError, match=r"ray stopped"):
            stage.run([{"id": "a"}], *executor(ENGINE, Failing(opens, OSError)))


def test_nothing_left_starts_no_cluster() -> None:
    assert list(executor(ENGINE, Failing())[0]([])) == []
