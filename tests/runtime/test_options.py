"""The options of a guard as people write them, and what cannot be done with a guard."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmguard import HarmGuard, errors
from harmguard.core.cores import allowed_cores

CORES = max(1, int(allowed_cores()))


@pytest.mark.parametrize("threads", [np.int64(1), np.uint8(1), np.int32(1), np.array(1)])
def test_threads_of_any_whole_number(small_bundle: Path, small: HarmGuard, threads: Any) -> None:
    with HarmGuard(small_bundle, threads=threads) as guard:
        assert guard.score("how to") == small.score("how to")


@pytest.mark.parametrize("threads", [1.0, "1", np.float32(1), np.bool_(True), [1], np.ones(2)])
def test_threads_that_are_no_whole_number(small_bundle: Path, threads: Any) -> None:
    name = type(threads).__name__
    with pytest.raises(errors.InputTypeError, match=f"threads is {name}; expected int or None"):
        HarmGuard(small_bundle, threads=threads)


@pytest.mark.parametrize("threads", [CORES + 1, 4097, 10**6, np.int64(2**62)])
def test_more_threads_than_cores_are_as_many_as_cores(small_bundle: Path, threads: int) -> None:
    message = f"threads is {threads:,} and this process may use {CORES} cores; the guard has"
    with (
        pytest.warns(errors.FewerThreadsWarning, match=message),
        HarmGuard(small_bundle, threads=threads) as guard,
    ):
        assert 0 <= guard.score("how to") <= 1


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (np.float32(0.25), 0.25),
        (np.float16(0.75), 0.75),
        (np.int8(1), 1.0),
        (Fraction(1, 8), 0.125),
        (Decimal("0.375"), 0.375),
        ("0.25", 0.25),
        (".5", 0.5),
        ("1", 1.0),
        (" 7.5e-1 ", 0.75),
    ],
)
def test_thresholds_as_people_write_them(
    small_bundle: Path, threshold: Any, expected: float
) -> None:
    with HarmGuard(small_bundle, threads=1, threshold=threshold) as guard:
        found = guard.check("how to").threshold
    assert (type(found), found) == (float, expected)


@pytest.mark.parametrize("threshold", [np.True_, b"0.5", [0.5], 1j, np.ones(1)])
def test_thresholds_of_other_types(small_bundle: Path, threshold: Any) -> None:
    with pytest.raises(errors.InputTypeError, match="expected a number or a name"):
        HarmGuard(small_bundle, threshold=threshold)


@pytest.mark.parametrize(
    "threshold", [10**400, "1.01", "-0.1", "1e9", Decimal("sNaN"), np.float64("nan"), "0,5", "nan"]
)
def test_thresholds_that_are_none(small_bundle: Path, threshold: Any) -> None:
    with pytest.raises(errors.UnknownThresholdError, match="expected a number"):
        HarmGuard(small_bundle, threshold=threshold)


@pytest.mark.parametrize("most", [1, 500, np.int64(9_999), 200_000])
def test_max_chars_lowers_the_ceiling(small_bundle: Path, most: int) -> None:
    with HarmGuard(small_bundle, threads=1, max_chars=most) as guard:
        assert guard.max_chars == most
        assert 0 <= guard.score("a" * most) <= 1
        for pair in (("a" * (most + 1), None), ("a", "b" * (most + 1))):
            with pytest.raises(errors.TextTooLongError, match=f"expected at most {most:,}"):
                guard.score(*pair)


@pytest.mark.parametrize("most", [0, -1, 200_001])
def test_max_chars_out_of_range(small_bundle: Path, most: int) -> None:
    with pytest.raises(errors.InputError, match=r"expected from 1 to 200,000, the bundle's own"):
        HarmGuard(small_bundle, max_chars=most)


@pytest.mark.parametrize("most", ["9", 9.0, True])
def test_max_chars_of_another_type(small_bundle: Path, most: Any) -> None:
    with pytest.raises(errors.InputTypeError, match=r"max_chars is .*; expected int or None"):
        HarmGuard(small_bundle, max_chars=most)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("", errors.InputError, " is empty; expected a folder, or None"),
        ("a\0b", errors.InputError, " holds a NUL at 1; expected a path"),
        (b"guard", errors.InputTypeError, " is bytes; expected a path"),
        (7, errors.InputTypeError, " is int; expected a path"),
        (True, errors.InputTypeError, " is bool; expected a path"),
    ],
)
def test_paths_that_are_none(
    small_bundle: Path, path: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^bundle{message}"):
        HarmGuard(path)
    with pytest.raises(error, match=f"^cache{message}"):
        HarmGuard(small_bundle, cache=path)


@pytest.mark.parametrize("path", ["x" * 300, "y/" * 3000, "z" * 5000])
def test_paths_that_are_too_long(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        errors.BundleError, match=r"cannot be read \(File name too long\)|no folder"
    ):
        HarmGuard(path)
    with pytest.warns(errors.UnpreparedWarning, match="without a prepared copy: .*too long"):
        guard = HarmGuard(small_bundle, threads=1, cache=path)
    with guard:
        assert 0 <= guard.score("how to") <= 1


@pytest.fixture
def for_any_user(small_bundle: Path) -> Iterator[Path]:
    """A copy where every user may read it: pytest's own folders are their owner's alone."""
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        yield Path(shutil.copytree(small_bundle, Path(outer) / "guard"))


UNREADABLE = """
import os, sys
import harmguard.guard, harmguard.runtime.probe
from harmguard import HarmGuard
from harmguard.errors import BundleFileError
if os.getuid() == 0:  # root may read everything
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    HarmGuard(sys.argv[1])
except BundleFileError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["guard.json", "model.onnx", "tokenizer.json", "golden.jsonl"])
def test_a_file_that_may_not_be_read(for_any_user: Path, name: str) -> None:
    (for_any_user / name).chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", UNREADABLE, str(for_any_user)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{name} cannot be opened (Permission denied)" in done.stdout


def test_scores_as_json(small: HarmGuard) -> None:
    found = small.score_many([("how to", None), ("a", "b")])
    assert json.loads(json.dumps(found.tolist())) == pytest.approx(found)
    assert json.dumps(small.check_many([("a", None)])[0].score)


# A guard is not copied


@pytest.mark.parametrize(
    "work",
    [
        copy.copy,
        copy.deepcopy,
        lambda guard: copy.deepcopy({"guard": [guard]}),
        pickle.dumps,
        lambda guard: pickle.dumps((guard, 1), protocol=0),
        lambda guard: multiprocessing.get_context("spawn").Process(args=(guard,)).start(),
    ],
    ids=["copy", "deepcopy", "deepcopy inside", "pickle", "pickle 0", "spawn"],
)
def test_a_guard_cannot_be_copied(small: HarmGuard, work: Callable[[HarmGuard], object]) -> None:
    with pytest.raises(
        errors.CopiedGuardError, match=r"cannot be copied or pickled.*make it there"
    ):
        work(small)
    assert 0 <= small.score("how to") <= 1


# What the system does not give

NO_THREADS = """
import os, resource, sys
import harmguard.guard, harmguard.runtime.probe
from harmguard import HarmGuard, HarmGuardError
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
if os.getuid() == 0:  # root has no limit
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    HarmGuard(sys.argv[1], threads=2)
except HarmGuardError as error:
    sys.stderr.write(str(error))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or CORES < 2, reason="needs two cores")
def test_a_limit_on_processes_is_named(for_any_user: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS, str(for_any_user)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "likely a limit on processes (`ulimit -u`, or the container's pids limit)" in done.stderr
    assert done.stdout == ""


def test_a_mount_with_a_strange_name_stops_no_guard(small_bundle: Path, tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"\xff\xfe", b"a\xc3 b\n"):
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False).returncode:
            pytest.skip("this user may not mount")
        try:
            with HarmGuard(small_bundle) as guard:
                assert 0 <= guard.score("how to") <= 1
        finally:
            subprocess.run(["umount", folder], check=True)
