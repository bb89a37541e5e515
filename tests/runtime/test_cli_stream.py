"""`harmguard check --stream` and `--explain`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harmguard import HarmGuard
from harmguard.cli import main

SAFE = "the bread is safe and kind please make the bread how to make the kind bread please "
SAFE += "make a safe bread the kind answer is please and how to make a safe kind question, and "
SAFE += "how is the bread made, Zo\u00eb \U0001f600. "
ANSWER = SAFE * 2 + "the danger is here. " + SAFE * 2


def check(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, *arguments: str, given: bytes = b""
) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    return main(["check", "--guard", str(bundle), "--threads", "1", *arguments])


def test_a_harmless_answer_is_copied(
    monkeypatch: pytest.MonkeyPatch, needle_bundle: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    options = ("--stream", "--threshold", "0.5", "how to make bread")
    assert check(monkeypatch, needle_bundle, *options, given=(SAFE * 3).encode()) == 0
    assert capfdbinary.readouterr() == ((SAFE * 3).encode(), b"")


def test_a_harmful_answer_is_stopped(
    monkeypatch: pytest.MonkeyPatch, needle_bundle: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    options = ("--stream", "--threshold", "0.5", "how to make bread")
    assert check(monkeypatch, needle_bundle, *options, given=ANSWER.encode()) == 1
    out, err = capfdbinary.readouterr()
    assert ANSWER.startswith(out.decode())
    assert len(SAFE) <= len(out.decode()) <= len(SAFE) * 2
    assert b"danger" not in out + err
    assert err.startswith(b"harmguard: stopped: the answer is harmful up to character ")


def test_text_comes_out_while_more_is_awaited(needle_bundle: Path) -> None:
    command = [sys.executable, "-m", "harmguard", "check", "--guard", str(needle_bundle)]
    command += ["--stream", "--threshold", "0.5", "how to make bread"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write((SAFE * 2).encode())
        process.stdin.flush()
        assert process.stdout.read(len(SAFE)).startswith(b"the bread is safe")
        process.stdin.write(b"the danger. ")
        process.stdin.close()
        process.stdout.read()
    assert process.returncode == 1


def test_a_character_cut_in_two_by_a_pipe_is_whole_again(
    monkeypatch: pytest.MonkeyPatch, needle_bundle: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("harmguard.cli._stream_and_explain._CHUNK", 1)
    options = ("--stream", "--threshold", "0.5", "bread")
    assert check(monkeypatch, needle_bundle, *options, given=SAFE.encode()) == 0
    assert capfdbinary.readouterr()[0] == SAFE.encode()


@pytest.mark.parametrize("given", [b"bread \xff\xfe", "bread \U0001f600".encode()[:-1]])
def test_other_bytes_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
    needle_bundle: Path,
    capsys: pytest.CaptureFixture[str],
    given: bytes,
) -> None:
    options = ("--stream", "--threshold", "0.5", "bread")
    assert check(monkeypatch, needle_bundle, *options, given=given) == 3
    assert "InvalidTextError: standard input is no UTF-8 near byte" in capsys.readouterr().err


def test_without_an_operating_point_it_says_to_calibrate(
    monkeypatch: pytest.MonkeyPatch, needle_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, needle_bundle, "--stream", "bread") == 3
    assert "MissingStreamPointError" in capsys.readouterr().err


def test_wrong_combinations_are_refused(
    monkeypatch: pytest.MonkeyPatch, needle_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, needle_bundle, "--stream", "bread", "please") == 2
    assert "expected PROMPT, and the answer on stdin" in capsys.readouterr().err
    assert check(monkeypatch, needle_bundle, "--stream", "--explain", "bread") == 2


def test_explain_prints_offsets(
    monkeypatch: pytest.MonkeyPatch,
    needle_bundle: Path,
    needle: HarmGuard,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check(monkeypatch, needle_bundle, "--explain", "bread", ANSWER) == 1
    found = json.loads(capsys.readouterr().out)
    (named,) = found["named"]
    assert ANSWER[named["start"] : named["end"]] == "the danger is here. "
    assert found["verdict"]["score"] == needle.score("bread", ANSWER)
    assert (found["of"], found["spread"]) == ("response", False)
    assert check(monkeypatch, needle_bundle, "--explain", "how to make bread") == 0
    assert json.loads(capsys.readouterr().out)["named"] == []
