"""The command under real conditions: texts from pipes, streams that are closed or full, signals."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmguard import HarmGuard
from harmguard._scoring import Scorer
from harmguard.cli import COMMANDS, _bulk, main

BundleMaker = Callable[..., Path]
SECRET = "quagga"
ROW = b'{"prompt": "bread"}\n'


@pytest.fixture
def score(small_bundle: Path) -> list[str]:
    return ["score", "--guard", str(small_bundle), "--threads", "1"]


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="latin-1"))


# Texts from standard input


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"how to make bread", "how to make bread"),
        (b"how to make bread\n", "how to make bread"),
        (b"how to make bread\r\n", "how to make bread"),
        (b"danger\n\n", "danger\n"),
        ("caf\u00e9 \u4e2d\u6587\n".encode(), "caf\u00e9 \u4e2d\u6587"),
        (b"--help\n", "--help"),
        (b"-", "-"),
    ],
)
def test_a_hyphen_reads_the_text_from_standard_input(
    score: list[str], small: HarmGuard, monkeypatch: Any, capsys: Any, data: bytes, text: str
) -> None:
    for words, pair in (
        (["-"], (text, None)),
        (["-", "please"], (text, "please")),
        (["bread", "-"], ("bread", text)),
        (["-", "--", "-"], (text, "-")),
    ):
        given(monkeypatch, data)
        assert main([*score, *words]) == 0
        assert capsys.readouterr().out == f"{small.score(*pair):.4f}\n"


def test_check_reads_standard_input_too(needle_bundle: Path, monkeypatch: Any, capsys: Any) -> None:
    command = ["check", "--guard", str(needle_bundle)]
    for data, code in ((b"a danger\n", 1), (b"a kind thing\n", 0), (b"kind " * 900 + b"danger", 1)):
        given(monkeypatch, data)
        assert main([*command, "-"]) == code
        assert json.loads(capsys.readouterr().out)["harmful"] is bool(code)


def test_standard_input_is_for_one_text(score: list[str], capsys: Any) -> None:
    for words in (["-", "-"], ["-", "--threads", "1", "-"]):
        assert main([*score, *words]) == 2
        assert "- twice; expected standard input for one text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "EmptyPromptError: standard input is empty"),
        (b"\n", "EmptyPromptError: standard input is empty"),
        (b"\r\n", "EmptyPromptError: standard input is empty"),
        (b" \t \n", "EmptyPromptError: prompt has 3 characters and no token"),
        (b"quagga \xff", "InvalidTextError: standard input is no UTF-8 at byte 7 of 8"),
        (b"quagga \xe4\xb8", "InvalidTextError: standard input is no UTF-8 at byte 7 of 9"),
        (b"\xed\xa0\x80quagga", "InvalidTextError: standard input is no UTF-8 at byte 0"),
        ("quagga".encode("utf-16"), "InvalidTextError: standard input is no UTF-8 at byte 0"),
        (b"quagga" * 40_000, "TextTooLongError: prompt has 240,000 characters"),
        (b"quagga" * 200_000, "TextTooLongError: standard input has more than 800,002 bytes"),
    ],
)
@pytest.mark.parametrize("command", ["score", "check"])
def test_bad_standard_input(
    small_bundle: Path, monkeypatch: Any, capsys: Any, command: str, data: bytes, message: str
) -> None:
    given(monkeypatch, data)
    assert main([command, "--guard", str(small_bundle), "-"]) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert SECRET not in err


def test_out_may_be_standard_output(
    score: list[str], monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given(monkeypatch, ROW * 3)
    assert main([*score, "--jsonl", "-", "--out", "-"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert os.listdir(tmp_path) == []


# Exit codes


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(SECRET),
        MemoryError(),
        RecursionError(SECRET),
        SystemExit(1),
        SystemExit(SECRET),
        type("PanicException", (BaseException,), {})(SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("command", ["check", "score", "verify", "info"])
def test_an_error_that_nobody_foresaw_is_a_3(
    small_bundle: Path, monkeypatch: Any, capsys: Any, command: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"harmguard.cli.{command}.run", fail, raising=False)
    monkeypatch.setitem(COMMANDS, command, "")
    assert main([command]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert SECRET not in err


def test_a_broken_installation_is_a_3_too(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('libopenblas.so: cannot open')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for command in (["check", "bread"], ["score", "bread"], ["verify"]):
        done = run(command, env=environment)
        assert (done.returncode, done.stdout) == (3, "")
        assert re.fullmatch(r"harmguard: unforeseen ImportError at .*numpy.py:1; .*\n", done.stderr)


def run(arguments: list[str], before: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a shell's process; `before` are redirections."""
    command = ["sh", "-c", f'exec "$@" {before}', "sh", sys.executable, "-m", "harmguard"]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 120}
    return subprocess.run([*command, *arguments], check=False, **{**given, **options})


# Streams


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(ROW * 40)
    return path


def test_closed_standard_output(score: list[str], source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for command in (
        [*score, "bread"],
        ["check", *score[1:], "danger"],
        ["info", score[2]],
        [*score, "--jsonl", str(source), "--out", str(out)],
    ):
        done = run(command, ">&-")
        assert done.returncode == 3
        assert done.stderr == "harmguard: standard output is closed; expected one to write to\n"
    assert [json.loads(line)["line"] for line in out.read_text().splitlines()] == [*range(1, 41)]


def test_full_standard_output(score: list[str], source: Path) -> None:
    for command in (
        [*score, "bread"],
        ["check", *score[1:], "danger"],
        [*score, "--jsonl", str(source)],
    ):
        done = run(command, ">/dev/full")
        assert done.returncode == 3
        assert done.stderr == "harmguard: No space left on device\n"


@pytest.mark.parametrize("before", ["<&-", "2>&-", "2>/dev/full", "<&- 2>&-"])
def test_streams_that_the_work_does_not_need(
    score: list[str], source: Path, tmp_path: Path, before: str
) -> None:
    out = tmp_path / "out.jsonl"
    source.write_bytes(ROW + b"{\n" + ROW)  # a bad row is said on standard error
    done = run([*score, "--jsonl", str(source), "--out", str(out)], before)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(out.read_text().splitlines()) == 3
    alone = run([*score, "bread"], before)
    assert alone.returncode == 0
    assert re.fullmatch(r"0\.\d{4}\n", alone.stdout)


@pytest.mark.parametrize("words", [["-"], ["--jsonl", "-"], ["bread", "-"]])
def test_closed_standard_input_that_is_needed(score: list[str], words: list[str]) -> None:
    done = run([*score, *words], "<&-")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("harmguard: InputError: standard input is closed; expected")
    assert done.stderr.count("\n") == 1


# Signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("wait", ["loading", "scoring"])
def test_a_signal_cleans_up(
    score: list[str], tmp_path: Path, number: signal.Signals, code: int, wait: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    command = [*score, "--jsonl", "-", "--out", str(folder / "out.jsonl")]
    with subprocess.Popen(
        [sys.executable, "-m", "harmguard", *command],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # under nohup, too
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(ROW * 600)
        process.stdin.flush()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            parts = list(folder.iterdir())
            if parts and (wait == "loading" or parts[0].stat().st_size):
                break
            time.sleep(0.002)
        process.send_signal(number)
        said = process.stderr.read().decode()
    assert process.returncode == code
    assert said.startswith("harmguard: ")
    assert said.count("\n") == 1
    assert os.listdir(folder) == []


def test_a_signal_that_is_ignored_stays_ignored(score: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "harmguard", *score, "--jsonl", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(ROW)
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.stdin.write(ROW)
        process.stdin.close()
        assert json.loads(process.stdout.read())["line"] == 2
    assert process.returncode == 0


STOPS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by signal 15")]


def stopped_in_native_code(number: int) -> None:
    """What native code does that clears the error of the Python it called."""
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), number)
        for _ in range(1000):
            pass


@pytest.mark.parametrize(("number", "code", "message"), STOPS)
def test_a_signal_that_became_another_error(
    monkeypatch: Any, capsys: Any, number: int, code: int, message: str
) -> None:
    def run(_: object) -> int:
        stopped_in_native_code(number)
        raise ImportError("numpy.core.multiarray failed to import")

    monkeypatch.setattr("harmguard.cli.info.run", run)
    assert main(["info"]) == code
    assert capsys.readouterr().err == f"harmguard: {message}\n"


@pytest.mark.parametrize(("number", "code", "message"), STOPS)
def test_a_signal_that_was_lost_ends_bulk_scoring(
    score: list[str], monkeypatch: Any, capsys: Any, number: int, code: int, message: str
) -> None:
    class Lines(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            stopped_in_native_code(number)
            return ROW

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Lines()))
    assert main([*score, "--jsonl", "-"]) == code
    assert capsys.readouterr().err == f"harmguard: {message}\n"


@pytest.mark.parametrize(("number", "code", "message"), STOPS)
def test_a_second_signal_stops_unless_the_clean_up_is_under_way(
    monkeypatch: Any, capsys: Any, number: int, code: int, message: str
) -> None:
    done = []

    def run(_: object) -> int:
        stopped_in_native_code(number)
        done.append("lost")
        try:
            os.kill(os.getpid(), number)
            done.append("never")
        finally:
            os.kill(os.getpid(), number)
            try:
                raise ZeroDivisionError
            except ZeroDivisionError:
                os.kill(os.getpid(), number)
            done.append("clean")
        return 0

    monkeypatch.setattr("harmguard.cli.info.run", run)
    assert main(["info"]) == code
    assert done == ["lost", "clean"]
    assert capsys.readouterr().err == f"harmguard: {message}\n"
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_a_signal_in_a_finalizer_is_not_printed_and_others_are(
    monkeypatch: Any, capsys: Any
) -> None:
    class Finalized:
        def __init__(self, work: Callable[[], object]) -> None:
            self.work = work

        def __del__(self) -> None:
            self.work()

    def run(_: object) -> int:
        Finalized(lambda: os.kill(os.getpid(), signal.SIGTERM))
        Finalized(lambda: int("no number"))
        raise ValueError

    said: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    monkeypatch.setattr("harmguard.cli.info.run", run)
    assert main(["info"]) == 143
    assert [type(lost.exc_value) for lost in said] == [ValueError]
    assert capsys.readouterr().err == "harmguard: stopped by signal 15\n"
    assert sys.unraisablehook == said.append


# Rows as they arrive


@pytest.mark.parametrize("together", [1, 3, 40])
def test_a_parent_that_waits_for_each_answer(score: list[str], together: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "harmguard", *score, "--jsonl", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # The end of a killed process ends the wait for an answer that never comes.
        watch = subprocess.Popen(["sh", "-c", f"sleep 60; kill {process.pid}"])
        try:
            for first in range(1, 3 * together, together):
                # The start of the next line is no reason to wait.
                process.stdin.write((ROW * together)[-len(ROW) * together + 7 * (first > 1) :])
                process.stdin.write(ROW[:7])
                process.stdin.flush()
                found = [json.loads(process.stdout.readline())["line"] for _ in range(together)]
                assert found == [*range(first, first + together)]
            process.stdin.write(ROW[7:])
            process.stdin.close()
            assert process.wait(60) == 0
        finally:
            watch.kill()
            watch.wait()


class Pieces(io.RawIOBase):
    """A file that gives its bytes in pieces of some size."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size = data, size

    def read(self, size: int = -1, /) -> bytes:
        piece, self.data = self.data[: self.size], self.data[self.size :]
        return piece


@pytest.mark.parametrize("size", [1, 2, 7, 19, 20, 21, 1000])
def test_lines_do_not_depend_on_how_they_arrive(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(_bulk, "MAX_LINE_BYTES", 20)
    data = b"a\n\n" + b"b" * 19 + b"\n" + b"c" * 20 + b"\n\r\n" + b"d" * 50 + b"\ne\n" + b"f" * 9
    pieces: Any = Pieces(data, size)
    found = [line for line in _bulk._lines(pieces) if line is not None]
    assert found == [
        (1, b"a"),
        (2, b""),
        (3, b"b" * 19),
        (4, None),
        (5, b"\r"),
        (6, None),
        (7, b"e"),
        (8, b"f" * 9),
    ]


@pytest.mark.parametrize("bad", [b'{"prompt": " "}', b'{"prompt": "\\udfff"}', b'{"prompt": ""}'])
def test_a_bad_row_costs_the_good_ones_nothing(
    small: HarmGuard, monkeypatch: pytest.MonkeyPatch, bad: bytes
) -> None:
    windows = []
    logits = Scorer._logits

    def counted(self: Scorer, session: Any, found: Any) -> Any:
        windows.append(len(found))
        return logits(self, session, found)

    monkeypatch.setattr(Scorer, "_logits", counted)
    sink = io.StringIO()
    data = ROW * 5 + bad + b"\n" + ROW * 9 + bad + b"\n" + ROW
    assert _bulk.score_lines(small, io.BytesIO(data), sink) == 1
    assert windows == [15]
    found = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert [row["line"] for row in found if "error" in row] == [6, 16]
    assert {row["score"] for row in found if "score" in row} == {round(small.score("bread"), 6)}
