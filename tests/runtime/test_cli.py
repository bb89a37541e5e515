"""The command `harmguard`: output, exit codes, and every example of --help."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harmguard import HarmGuard, __version__
from harmguard.cli import COMMANDS, _bulk, main
from harmguard.errors import OutputExistsError

SECRET = "zebra-crossing-17"


@pytest.fixture(autouse=True)
def small_as_default(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tiny bundle stand for --guard in `cli`."""
    monkeypatch.setenv("TINY", str(small_bundle))


def cli(*arguments: str) -> int:
    """Run a command in this process, on the tiny guard where it takes one."""
    command, *rest = arguments
    guard = (
        ["--guard", os.environ["TINY"], "--threads", "1"] if command in ("score", "check") else []
    )
    return main([command, *guard, *rest])


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# One pair


def test_score_prints_one_line(capsys: pytest.CaptureFixture[str], small: HarmGuard) -> None:
    assert cli("score", "how to make bread") == 0
    assert cli("score", "how to make bread", "please") == 0
    assert cli("score", "how to make bread", "") == 0
    out, err = capsys.readouterr()
    pairs = [("how to make bread", response) for response in (None, "please", "")]
    assert out.splitlines() == [f"{small.score(*pair):.4f}" for pair in pairs]
    assert len(set(out.splitlines())) > 1
    assert err == ""


def test_check_prints_a_verdict(capsys: pytest.CaptureFixture[str], small: HarmGuard) -> None:
    score = small.score("bread")
    assert cli("check", "--threshold", str(score), "bread") == 1
    assert cli("check", "--threshold", "1", "bread") == 0
    assert cli("check", "--threshold", "fpr_1", "bread") in (0, 1)
    harmful, safe, named = rows(capsys.readouterr().out)
    expected: dict[str, Any] = {"threshold": score, "harmful": True, "tokens": 1, "windows": 1}
    expected |= {"view": "text", "unreadable": 0.0, "guard": "tiny"}
    assert harmful == {"score": score, **expected}
    assert safe["harmful"] is False
    assert named["threshold"] == 0.9


@pytest.mark.parametrize("text", ["-rf", "--", "--help", "--guard", "-", "- bread", "--guard=x"])
def test_a_text_after_two_dashes_is_a_text(
    capsys: pytest.CaptureFixture[str], small: HarmGuard, text: str
) -> None:
    assert cli("score", "--", text) == 0
    assert cli("score", "bread", "--", text) == 0
    expected = [small.score(text), small.score("bread", text)]
    assert capsys.readouterr().out.splitlines() == [f"{score:.4f}" for score in expected]


def test_options_between_texts(capsys: pytest.CaptureFixture[str], small: HarmGuard) -> None:
    assert cli("score", "bread", "--threads", "1", "please") == 0
    assert capsys.readouterr().out == f"{small.score('bread', 'please'):.4f}\n"


# Usage and errors: no message repeats a text


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "no command"),
        ([SECRET], "unknown command"),
        (["--" + SECRET], "no command"),
        (["score"], "0 texts; expected PROMPT"),
        (["score", SECRET, SECRET, SECRET], "3 texts"),
        (["score", "--" + SECRET], "unknown option; write --"),
        (["score", "-" + SECRET], "unknown option; write --"),
        (["score", "--threads", SECRET, "a"], "--threads: expected a whole number"),
        (["score", "--threads", "0", "a"], "--threads: expected a whole number"),
        (["score", "--thread", "1", "a"], "unknown option"),
        (["score", "--out", "x", SECRET], "--out without --jsonl"),
        (["score", "--jsonl", "x", SECRET], "expected one or the other"),
        (["check", "--threshold"], "expected one argument"),
        (["info", "a", SECRET], "1 arguments too many"),
        (["verify", "--version=" + SECRET], "unknown option"),
        (["--version=" + SECRET], "ignored explicit argument"),
    ],
)
def test_wrong_command_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], match: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert match in err
    assert SECRET not in err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["score", ""], "EmptyPromptError: prompt is empty"),
        (["score", SECRET + "\ud800"], "InvalidTextError: prompt holds a lone surrogate"),
        (["check", SECRET + "x" * 200_001], "TextTooLongError"),
        (["check", "--threshold", "none", SECRET], "UnknownThresholdError"),
        (["check", "--threshold", "1.5", SECRET], "UnknownThresholdError"),
        (["check", "--threshold", "nan", SECRET], "UnknownThresholdError"),
        (["check", "--guard", "/nonexistent", SECRET], "BundleNotFoundError"),
        (["info", "/nonexistent"], "BundleNotFoundError"),
        (["verify", "/nonexistent"], "BundleNotFoundError"),
        (["score", "--jsonl", "/nonexistent"], "/nonexistent: No such file"),
    ],
)
def test_errors_are_one_line_and_exit_with_3(
    capsys: pytest.CaptureFixture[str], arguments: list[str], match: str
) -> None:
    assert cli(*arguments) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("harmguard: ")
    assert match in err
    assert SECRET not in err


# Bulk


BAD = [
    (b"{", "InputError"),
    (b"\xff", "InputError"),
    (b"[1]", "InputError"),
    (b'{"text": "a"}', "InputError"),
    (b'{"prompt": "a", "prompt": "b"}', "InputError"),
    (b'{"prompt": NaN}', "InputTypeError"),
    (b"[" * 100_000, "InputError"),
    (b'{"prompt": 1}', "InputTypeError"),
    (b'{"prompt": null}', "InputTypeError"),
    (b'{"prompt": "a", "response": 1}', "InputTypeError"),
    (b'{"prompt": ""}', "EmptyPromptError"),
    (b'{"prompt": "\\ud800"}', "InvalidTextError"),
    (b'{"prompt": "' + b"x" * 200_001 + b'"}', "TextTooLongError"),
]
GOOD: list[tuple[bytes, tuple[str, str | None]]] = [
    (b'{"prompt": "bread"}', ("bread", None)),
    (b'{"prompt": "bread", "response": null, "id": 7}', ("bread", None)),
    (b'{"prompt": "bread", "response": ""}\r', ("bread", "")),
    (b'{"prompt": "bread", "response": "' + b"please " * 100 + b'"}', ("bread", "please " * 100)),
]


def test_bulk_keeps_order_and_scores_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], small: HarmGuard
) -> None:
    lines = [line for bad, _ in BAD for line in (bad, GOOD[0][0])] + [line for line, _ in GOOD]
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"\n".join(lines))
    assert cli("score", "--jsonl", str(source)) == 1
    out, err = capsys.readouterr()
    found = rows(out)
    assert [row["line"] for row in found] == list(range(1, len(lines) + 1))
    assert [row["error"] for row in found if "error" in row] == [name for _, name in BAD]
    scores = [row["score"] for row in found if "score" in row]
    pairs = [GOOD[0][1]] * len(BAD) + [pair for _, pair in GOOD]
    assert scores == pytest.approx([small.score(*pair) for pair in pairs], abs=1e-5)
    numbers = re.findall(r"^harmguard: line (\d+): (\w+): ", err, flags=re.MULTILINE)
    assert numbers == [(str(2 * i + 1), name) for i, (_, name) in enumerate(BAD)]
    assert err.count("\n") == len(BAD)


def test_bulk_from_stdin_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = b'{"prompt": "bread"}\n\n  \n{"prompt": "how", "response": "please"}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    out = tmp_path / "out.jsonl"
    assert cli("score", "--jsonl", "-", "--out", str(out)) == 0
    assert [row["line"] for row in rows(out.read_text())] == [1, 4]
    assert capsys.readouterr() == ("", "")
    assert cli("score", "--jsonl", "-", "--out", str(out)) == 3
    assert "OutputExistsError" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_bulk_of_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"")
    assert cli("score", "--jsonl", str(tmp_path / "in.jsonl")) == 0
    assert capsys.readouterr() == ("", "")


def test_a_failed_bulk_run_leaves_no_file(tmp_path: Path, small: HarmGuard) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(ZeroDivisionError), _bulk._new_text_file(out) as file:
        file.write(str(1 / 0))
    assert os.listdir(tmp_path) == []
    with pytest.raises(OutputExistsError, match="overwritten"), _bulk._new_text_file(out):
        out.write_text("another's")
    assert out.read_text() == "another's"


def test_a_line_too_long_to_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small: HarmGuard
) -> None:
    monkeypatch.setattr(_bulk, "MAX_LINE_BYTES", 32)
    good = b'{"prompt": "bread"}\n'
    sink = io.StringIO()
    assert _bulk.score_lines(small, io.BytesIO(b"x" * 100 + b"\n" + good + b"x" * 32), sink) == 1
    assert [row.get("error") for row in rows(sink.getvalue())] == ["InputError", None, "InputError"]
    assert "line 1: InputError: longer than 32 bytes" in capsys.readouterr().err


class Endless(io.RawIOBase):
    """Lines without end; counts how many were read."""

    def __init__(self) -> None:
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        self.count += 1
        return b'{"prompt": "bread"}\n'


class Enough(Exception):
    """Raised by the reader of the output."""


class Impatient(io.StringIO):
    """An output whose reader goes away at the first flush."""

    def flush(self) -> None:
        raise Enough


def test_bulk_streams(small: HarmGuard) -> None:
    lines: Any = Endless()
    with pytest.raises(Enough):
        _bulk.score_lines(small, lines, Impatient())
    assert lines.count <= 512


# info and verify


def test_info_names_what_is_unknown(make_bundle: Any, capsys: pytest.CaptureFixture[str]) -> None:
    precision = {"recipe": "int8", "exceptions": ["head"], "parity": None}
    folder = make_bundle(licence="unknown", precision=precision)
    assert main(["info", str(folder)]) == 0
    out = capsys.readouterr().out
    for note in (
        "a trial:",
        "licence unknown",
        "training data unknown",
        "uncalibrated for a prompt",
        "parity not measured",
    ):
        assert re.search(f"^note +{note}", out, flags=re.MULTILINE)
    assert "uncalibrated for an exchange" not in out
    assert re.search("^threshold +exchange fpr_1 0.9000 .*on val", out, flags=re.MULTILINE)


def test_info_of_a_complete_bundle_has_no_notes(
    make_bundle: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    point = {"default": {"value": 0.5, "set": "val", "rule": "best F1"}}
    data = [{"source": "ours", "licence": "MIT", "rows": 1000}]
    folder = make_bundle(
        status="release",
        training={"data": data, "recipe": "r"},
        thresholds={"prompt": point, "exchange": point},
        metrics={"auprc": 0.9},
    )
    assert main(["info", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "note" not in out
    assert re.search("^trained on +ours: 1,000 rows, MIT", out, flags=re.MULTILINE)
    assert re.search(r"^metric +auprc 0.9", out, flags=re.MULTILINE)


def test_verify(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(small_bundle)]) == 0
    assert re.search(r"golden +1 pairs", capsys.readouterr().out)


# The program as a user runs it


def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harmguard", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_warnings_are_one_line(make_bundle: Any) -> None:
    folder = make_bundle(precision={"recipe": "int8", "exceptions": [], "parity": None})
    done = run(["score", "--guard", str(folder), "bread"])
    assert re.fullmatch(r"0\.\d{4}\n", done.stdout)
    assert done.stderr.startswith("harmguard: UnverifiedBundleWarning: ")
    assert done.stderr.count("\n") == 1


def test_version() -> None:
    done = run(["--version"])
    assert (done.returncode, done.stdout) == (0, f"harmguard {__version__}\n")


def test_help_lists_every_command() -> None:
    done = run(["--help"])
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^    {name}\b", done.stdout, flags=re.MULTILINE)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from harmguard.cli import main; main(['score', '--help'])\n"
        "assert not {'torch', 'transformers', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_reader_that_goes_away(small_bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "bread"}\n' * 5000)
    command = [sys.executable, "-m", "harmguard", "score", "--guard", str(small_bundle)]
    with subprocess.Popen(
        [*command, "--jsonl", str(source)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_interrupt(small_bundle: Path) -> None:
    command = [sys.executable, "-m", "harmguard", "score", "--guard", str(small_bundle)]
    with subprocess.Popen(
        [*command, "--jsonl", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background job ignores it, and so would every child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b'{"prompt": "bread"}\n' * 512)
        process.stdin.flush()
        process.stdout.readline()
        limit = threading.Timer(60, process.kill)  # a signal that is lost fails, and hangs nothing
        limit.start()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        limit.cancel()
    assert said == b"harmguard: interrupted\n"
    assert process.returncode == 130


# Every example of --help

OURS = ("score", "check", "info", "verify", "prepare")


def examples(name: str) -> Iterator[str]:
    text = run([name, "--help"] if name else ["--help"]).stdout
    section = text.split("examples:\n")[1].split("\n\n")[0]
    for line in section.splitlines():
        assert line.startswith("  "), "an example is one line, indented by two"
        yield line.strip()


@pytest.mark.parametrize("name", ["", *OURS])
def test_examples_of_help_run(name: str, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "harmguard"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m harmguard "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}"}
    found = list(examples(name))
    assert found
    for example in found:
        done = subprocess.run(
            example, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (example, done.stderr)
        assert bool(done.stdout) is ("--out" not in example)
        assert done.stderr == ""
