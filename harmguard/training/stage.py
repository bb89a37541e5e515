"""A stage's folder: an append-only journal of finished rows, then the final files.

::

    run.json        what the stage was asked for; another request in the same folder is refused
    journal.jsonl   one line per finished row, in the order of finishing; survives a kill
    rows.jsonl      the stage's rows, in the order of its input; or rows.parquet
    rejects.jsonl   id and reason of what did not become a row
    manifest.json   settings, models, inputs, outputs with hashes, summary; written last

The final files depend on the request alone, not on kills, workers or the clock.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, Protocol, Self

from tqdm import tqdm

from harmguard.core.files import sha256_of, write_file
from harmguard.errors import DataError, ServerError, StageError
from harmguard.rows.formats import parquet

Item = dict[str, Any]  # has "id"
FAILED = "failed"  # in a result: why the row must be asked for again; such a row is not kept
AWAY = "away"  # in a failed result: the server itself is gone or takes nothing
REFUSED = "refused"  # in a result: a reason that a server's settings may lift; for this run only
REASON = "reason"  # in a result: why there will be no row
AWAY_ROWS = 16  # so many in a row without a server end a stage

# In a request: how many tries there are, and where a model lies (what it is stands beside it: the
# hash of its files, its commit, or the name under which it is served).
NEUTRAL = ("made_with", "max_attempts", "path", "url")
NUMERIC = ("block_rows", "dtype")  # decide the last bits of rows that are still to come


class Work(Protocol):
    """What a stage does to its items; picklable, opened where it runs."""

    @property
    def rows_apart(self) -> bool:
        """Whether a result does not depend on the other rows of its block."""

    def open(self) -> Callable[[Sequence[Item]], list[Item]]:
        """The function from a block of items to their results, in the same order.

        Called from several threads at a time where rows are apart.
        """


class Journal:
    """Results by id in a file that only grows; one writer at a time.

    A last line that a kill cut short is removed on opening. Raises StageError when the file
    is in use or cannot be written, DataError when a line inside it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise unwritable(path.name, error) from None
        try:
            self._lock(path)
            self.done = self._read(path)
        except BaseException:
            self.close()
            raise

    def _lock(self, path: Path) -> None:
        import fcntl  # only where stages run: Windows has none

        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError(
                f"{path.parent.name} is in use; expected one process per stage; likely another "
                "run of the same command"
            ) from None
        except OSError as error:
            raise StageError(
                f"{path.name} cannot be locked ({error.strerror}); expected a file system with "
                "locks; likely a network share: choose an --out on a local disk"
            ) from None

    def _read(self, path: Path) -> dict[str, Item]:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._fd, whole)
        done: dict[str, Item] = {}
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                value = json.loads(line)
                done.setdefault(value["id"], value)
            except (ValueError, KeyError, TypeError):
                raise DataError(
                    f"{path.name}, line {number} is no result; expected only lines that a stage "
                    "wrote; likely edited or a damaged disk"
                ) from None
        return done

    def append(self, results: Sequence[Item]) -> None:
        """Keep those results whose id is new, on the disk before this returns."""
        fresh = {r["id"]: r for r in results if r["id"] not in self.done}
        data = "".join(_line(r) for r in fresh.values()).encode()
        size = os.fstat(self._fd).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._fd, data[written:])
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, size)
            raise unwritable(self._name, error) from None
        self.done.update(fresh)

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._fd)


class Stage:
    """One stage in its folder; a context manager that holds the journal.

    `request` is everything that decides the rows, as JSON values, and what is worth keeping
    beside it (NEUTRAL). Raises StageError when the folder belongs to another request.
    """

    def __init__(self, out: Path, request: dict[str, Any]) -> None:
        self.out, self.request = out, request
        if request.get("rows") == "parquet":
            parquet(out.name)  # missing: said now, not after the work
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._claim(out / "run.json")
        except OSError as error:
            raise unwritable(out.name, error) from None

    def _claim(self, path: Path) -> None:
        if not path.is_file():
            write_file(path, _pretty(self.request), replace=True)
            return
        # Rows that are all there depend on no block and no number type to come.
        finished = (self.out / "manifest.json").is_file()
        neutral = {*NEUTRAL, *(NUMERIC if finished else ())}
        found = _deciding(json.loads(path.read_text(encoding="utf-8")), neutral)
        wanted = _deciding(self.request, neutral)
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                raise StageError(
                    f"{self.out.name} holds a run with another {key}; expected the same, to "
                    "resume it, or a new --out"
                )

    def __enter__(self) -> Self:
        self._journal = Journal(self.out / "journal.jsonl")
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a finished stage, else None."""
        path = self.out / "manifest.json"
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name, about in found["outputs"].items():
            if not (self.out / name).is_file() or sha256_of(self.out / name) != about["sha256"]:
                raise StageError(
                    f"{self.out.name}/{name} is not what its manifest says; expected the stage's "
                    "own file; likely edited, or copied in part"
                )
        return found

    def run(
        self,
        items: Sequence[Item],
        execute: Callable[[list[list[Item]]], Iterator[list[Item]]],
        block_rows: int,
    ) -> list[Item]:
        """The results of all items, in order; only what the journal lacks is computed.

        Blocks are always cut in the same places, so that a block that was done in part is
        computed again as a whole and gives the same numbers; with blocks of one row, finished
        rows are never asked for again. Raises ServerError at the end when some rows failed, or
        as soon as AWAY_ROWS one after another found no server; the others are kept.
        """
        done = self._journal.done
        blocks = [list(items[i : i + block_rows]) for i in range(0, len(items), block_rows)]
        left = [block for block in blocks if any(item["id"] not in done for item in block)]
        failed: list[str] = []
        refused: dict[str, Item] = {}
        away, gone = 0, False
        with tqdm(
            total=len(items),
            initial=len(items) - sum(map(len, left)),
            unit="row",
            desc=self.out.name,
            file=sys.stderr,
            disable=None,
        ) as bar:
            for results in execute(left):
                self._journal.append([r for r in results if not {FAILED, REFUSED} & r.keys()])
                bar.update(len(results))
                failed += [r[FAILED] for r in results if FAILED in r]
                refused |= {
                    r["id"]: {"id": r["id"], REASON: r[REFUSED]} for r in results if REFUSED in r
                }
                for result in results:
                    away = away + 1 if AWAY in result else 0
                    gone = gone or away >= AWAY_ROWS
                if gone:
                    left.clear()  # nothing more is handed out; what is under way is kept
        if failed:
            raise self._failure(failed, len(items), stopped=gone)
        found = {**refused, **done}
        missing = [item["id"] for item in items if item["id"] not in found]
        if missing:
            raise StageError(f"{self.out.name}: {len(missing)} of {len(items)} rows got no result")
        return [found[item["id"]] for item in items]

    def _failure(self, failed: Sequence[str], rows: int, *, stopped: bool) -> ServerError:
        counts = ", ".join(f"{failed.count(why)} x {why}" for why in sorted(set(failed)))
        likely = (
            f"stopped after {AWAY_ROWS} in a row without a server, which is likely down, "
            "overloaded, or at another url; "
        )
        return ServerError(
            f"{self.out.name}: {len(failed)} of {rows} rows failed ({counts}); "
            f"{likely if stopped else ''}the others are kept; run the same command again for "
            "the rest"
        )

    def finish(
        self, rows: Sequence[Item], rejects: Sequence[Item], summary: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the final files, the manifest last; returns the manifest.

        The rows go to Parquet when the request's `rows` says so.
        """
        name = f"rows.{self.request.get('rows', 'jsonl')}"
        try:
            outputs = {}
            for file, values in ((name, rows), ("rejects.jsonl", rejects)):
                write_file(self.out / file, _encoded(file, values), replace=True)
                outputs[file] = {"rows": len(values), "sha256": sha256_of(self.out / file)}
            manifest = {**self.request, "outputs": outputs, "summary": summary}
            write_file(self.out / "manifest.json", _pretty(manifest), replace=True)
        except OSError as error:
            raise unwritable(self.out.name, error) from None
        return manifest


def _deciding(value: Any, neutral: Set[str]) -> Any:
    """A request, or a part of it, without what makes no finished row another one."""
    if not isinstance(value, dict):
        return value
    return {key: _deciding(part, neutral) for key, part in value.items() if key not in neutral}


def unwritable(name: str, error: OSError) -> StageError:
    """The error for a file that the system would not let a stage write, with the likely cause."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    likely = "the disk or the quota is full" if full else "no right to write there"
    return StageError(
        f"{name}: cannot be written ({error.strerror}); expected room and a folder of one's own; "
        f"likely {likely}; finished rows are kept"
    )


def _line(value: Item) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True).replace("\u2028", "\\u2028") + "\n"


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a report aside and rename it. Raises StageError when it cannot be written."""
    try:
        write_file(path, _pretty(value), replace=True)
    except OSError as error:
        raise unwritable(path.name, error) from None


def write_rows(path: Path, rows: Sequence[Item]) -> None:
    """The same for lines of rows."""
    try:
        write_file(path, "".join(map(_line, rows)), replace=True)
    except OSError as error:
        raise unwritable(path.name, error) from None


def _pretty(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _encoded(name: str, values: Sequence[Item]) -> str | bytes:
    if not name.endswith(".parquet"):
        return "".join(map(_line, values))
    arrow, files = parquet(name)
    text = ("id", "prompt", "response", "source", "tier", "licence", "task")
    types = [(key, arrow.string()) for key in text]
    types += [("label", arrow.int8()), ("soft", arrow.float64()), ("weight", arrow.float64())]
    buffer = io.BytesIO()
    files.write_table(arrow.Table.from_pylist(list(values), arrow.schema(types)), buffer)
    return buffer.getvalue()
