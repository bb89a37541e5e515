"""The journal and the final files: kills, torn lines, full disks, two processes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmguard.errors import DataError, ServerError, StageError
from harmguard.training.stage import (
    AWAY,
    AWAY_ROWS,
    FAILED,
    REASON,
    REFUSED,
    Item,
    Journal,
    Stage,
    write_json,
)

ITEMS: list[Item] = [{"id": f"r{i}"} for i in range(10)]
Execute = Callable[[list[list[Item]]], Iterator[list[Item]]]


def answer(item: Item) -> Item:
    return {"id": item["id"], "text": item["id"] * 3 + "\u2028é"}


def execute(seen: list[str], stop_after: int = 99) -> Execute:
    def work(blocks: list[list[Item]]) -> Iterator[list[Item]]:
        for number, block in enumerate(blocks):
            if number == stop_after:
                raise KeyboardInterrupt
            seen.extend(item["id"] for item in block)
            yield [answer(item) for item in block]

    return work


def complete(out: Path, seen: list[str], block_rows: int = 3) -> dict[str, Any]:
    with Stage(out, {"stage": "x"}) as stage:
        results = stage.run(ITEMS, execute(seen), block_rows)
        return stage.finish(results, [], {"rows": len(results)})


def test_a_stopped_stage_does_only_what_is_left(tmp_path: Path) -> None:
    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt), Stage(tmp_path, {"stage": "x"}) as stage:
        stage.run(ITEMS, execute(seen, stop_after=2), 3)
    assert seen == [f"r{i}" for i in range(6)]
    manifest = complete(tmp_path, seen)
    assert seen == [f"r{i}" for i in range(10)]
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line) for line in lines] == [answer(item) for item in ITEMS]
    assert manifest["outputs"]["rows.jsonl"]["rows"] == 10
    with Stage(tmp_path, {"stage": "x"}) as stage:
        assert stage.manifest == manifest


@settings(max_examples=20)  # each syncs to disk some twenty times
@given(cut=st.integers(0, 10_000))
def test_a_journal_cut_anywhere_gives_the_same_files(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole = complete(folder / "a", [])
    journal = (folder / "a" / "journal.jsonl").read_bytes()
    kept = journal[: cut % len(journal)]
    (folder / "b").mkdir()
    (folder / "b" / "journal.jsonl").write_bytes(kept)
    seen: list[str] = []
    assert complete(folder / "b", seen) == whole
    assert len(seen) >= 10 - kept.count(b"\n")
    again = (folder / "b" / "journal.jsonl").read_bytes()
    assert sorted(again.splitlines()) == sorted(journal.splitlines())


def test_a_row_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append([{"id": "a", "n": 1}, {"id": "a", "n": 2}])
    journal.append([{"id": "a", "n": 3}])
    journal.close()
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("block_rows", "again"), [(1, ["r1", "r8"]), (3, ["r0", "r1", "r2", "r6", "r7", "r8"])]
)
def test_failed_rows_are_named_and_their_blocks_are_asked_for_again(
    tmp_path: Path, block_rows: int, again: list[str]
) -> None:
    def flaky(blocks: list[list[Item]]) -> Iterator[list[Item]]:
        for block in blocks:
            yield [
                {"id": i["id"], FAILED: "status 500"} if i["id"] in ("r1", "r8") else answer(i)
                for i in block
            ]

    with Stage(tmp_path, {"stage": "x"}) as stage:
        with pytest.raises(ServerError, match=r"2 of 10 rows failed \(2 x status 500\)"):
            stage.run(ITEMS, flaky, block_rows)
    seen: list[str] = []
    complete(tmp_path, seen, block_rows)
    assert seen == again
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 10


def test_a_server_that_is_gone_ends_the_stage(tmp_path: Path) -> None:
    items: list[Item] = [{"id": f"r{i:03}"} for i in range(200)]
    asked: list[str] = []

    def dies(blocks: list[list[Item]]) -> Iterator[list[Item]]:
        for (item,) in blocks:
            asked.append(item["id"])
            # One answer in between, then none.
            gone = len(asked) > 20 and len(asked) != 30
            yield [{"id": item["id"], FAILED: "no connection", AWAY: True} if gone
                   else answer(item)]  # fmt: skip

    with Stage(tmp_path, {"stage": "x"}) as stage:
        with pytest.raises(
            ServerError,
            match=rf"{9 + AWAY_ROWS} of 200 rows failed \({9 + AWAY_ROWS} x no connection\); "
            rf"stopped after {AWAY_ROWS} in a row without a server, .*the others are kept",
        ):
            stage.run(items, dies, 1)
    assert len(asked) == 30 + AWAY_ROWS
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 21


def test_what_is_under_way_when_a_server_is_gone_is_kept(tmp_path: Path) -> None:
    items: list[Item] = [{"id": f"r{i}"} for i in range(50)]

    def dies(blocks: list[list[Item]]) -> Iterator[list[Item]]:
        asked = [block[0] for block in blocks[: AWAY_ROWS + 1]]
        for item in asked[:-1]:
            yield [{"id": item["id"], FAILED: "no connection", AWAY: True}]
        assert not blocks  # nothing more is handed out
        yield [answer(asked[-1])]

    with Stage(tmp_path, {"stage": "x"}) as stage, pytest.raises(ServerError, match="stopped aft"):
        stage.run(items, dies, 1)
    assert f'"r{AWAY_ROWS}"' in (tmp_path / "journal.jsonl").read_text()


def test_a_refused_row_has_a_reason_and_is_asked_for_again_by_another_run(tmp_path: Path) -> None:
    def refuses(blocks: list[list[Item]]) -> Iterator[list[Item]]:
        for block in blocks:
            yield [
                {"id": i["id"], REFUSED: "status 400"} if i["id"] == "r4" else answer(i)
                for i in block
            ]

    with Stage(tmp_path, {"stage": "x"}) as stage:
        results = stage.run(ITEMS, refuses, 1)
    assert results[4] == {"id": "r4", REASON: "status 400"}
    assert [r for r in results if REASON not in r] == [answer(i) for i in ITEMS if i["id"] != "r4"]
    seen: list[str] = []
    complete(tmp_path, seen, 1)
    assert seen == ["r4"]


def test_rows_without_a_result_are_an_error(tmp_path: Path) -> None:
    with Stage(tmp_path, {"stage": "x"}) as stage:
        with pytest.raises(StageError, match="10 of 10 rows got no result"):
            stage.run(ITEMS, lambda _: iter([]), 3)


def test_another_request_in_the_same_folder(tmp_path: Path) -> None:
    Stage(tmp_path, {"stage": "x", "seed": 1})
    with pytest.raises(StageError, match="a run with another seed"):
        Stage(tmp_path, {"stage": "x", "seed": 2})


def test_a_server_that_moved_and_more_attempts_are_the_same_request(tmp_path: Path) -> None:
    def asked(url: str, attempts: int, temperature: float, torch: str) -> dict[str, Any]:
        model = {"path": "m", "url": url}
        settings = {"model": model, "max_attempts": attempts, "temperature": temperature}
        return {"stage": "x", "x": settings, "made_with": {"torch": torch}}

    with Stage(tmp_path, asked("http://a/v1", 5, 1.0, "2.8")) as stage:
        stage.run(ITEMS[:4], execute([]), 2)
    later = asked("http://b/v1", 9, 1.0, "2.9")
    seen: list[str] = []
    with Stage(tmp_path, later) as stage:
        manifest = stage.finish(stage.run(ITEMS, execute(seen), 2), [], {})
    assert seen == [f"r{i}" for i in range(4, 10)]
    assert {key: manifest[key] for key in later} == later
    with pytest.raises(StageError, match="a run with another x"):
        Stage(tmp_path, asked("http://b/v1", 9, 0.5, "2.9"))


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    with Stage(tmp_path, {"stage": "x"}):
        with pytest.raises(StageError, match="is in use"):
            Stage(tmp_path, {"stage": "x"}).__enter__()
    complete(tmp_path, [])


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StageError, match=r"cannot be locked \(No locks.*likely a network share"):
        Journal(tmp_path / "journal.jsonl")


def test_a_journal_that_cannot_be_opened_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StageError, match=r"journal.jsonl: cannot be written .*the disk or the quo"):
        Journal(tmp_path / "journal.jsonl")


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"id": "a"}\n{"id"\n{"id": "b"}\n')
    with pytest.raises(DataError, match=r"journal.jsonl, line 2 is no result"):
        Journal(tmp_path / "journal.jsonl")


def test_an_edited_output_is_noticed(tmp_path: Path) -> None:
    complete(tmp_path, [])
    (tmp_path / "rows.jsonl").write_text("{}\n")
    with pytest.raises(StageError, match="is not what its manifest says"):
        _ = Stage(tmp_path, {"stage": "x"}).manifest


FULL = """
import resource, sys
from pathlib import Path
from harmguard.errors import StageError
from harmguard.training.stage import Stage
out = Path(sys.argv[1])
items = [{"id": f"r{i}"} for i in range(100)]
def execute(blocks):
    for block in blocks:
        yield [{"id": i["id"], "text": "x" * 100} for i in block]
with Stage(out, {"stage": "x"}) as stage:
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    try:
        stage.run(items, execute, 10)
    except StageError as error:
        print(error)
"""


def test_out_of_disk_loses_no_finished_row(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "x")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "likely the disk or the quota is full; finished rows are kept" in done.stdout
    journal = (tmp_path / "x" / "journal.jsonl").read_text()
    assert journal.endswith("\n")
    assert 10 <= len(journal.splitlines()) < 100
    assert len(journal.splitlines()) % 10 == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StageError, match="likely no right to write there"):
            Stage(tmp_path / "x", {"stage": "x"})
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(StageError, match="cannot be written"):
        Stage(tmp_path / "x", {"stage": "x"})
    with pytest.raises(StageError, match="cannot be written"):
        write_json(tmp_path / "x" / "report.json", {})
