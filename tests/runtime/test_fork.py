from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

HEAD = """
import os, sys, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from harmguard import ForkedGuardError, HarmGuard

def in_child(work):
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(0)  # as a prefork server's worker ends: with the interpreter's clean-up
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

bundle = sys.argv[1]
guard = HarmGuard(bundle, threads=2)
before = guard.score("how to make bread")
"""


def _run(body: str, bundle: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HEAD + body, str(bundle)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_an_inherited_guard_is_a_named_error(any_bundle: Path) -> None:
    body = """
def work():
    for call in (lambda: guard.score("a"), lambda: guard.check_many([("a", "b")])):
        try:
            call()
        except ForkedGuardError as error:
            assert "make the guard in each worker" in str(error), error
        else:
            os._exit(3)
print(in_child(work), guard.score("how to make bread") == before)
"""
    assert _run(body, any_bundle) == "0 True\n"


def test_a_guard_made_in_the_child_works(any_bundle: Path) -> None:
    body = """
def work():
    own = HarmGuard(bundle, threads=2)
    if own.score("how to make bread") != before:
        os._exit(3)
    own.close()
print([in_child(work) for _ in range(3)], guard.score("how to make bread") == before)
"""
    assert _run(body, any_bundle) == "[0, 0, 0] True\n"


def test_dropping_an_inherited_guard_does_no_harm(any_bundle: Path) -> None:
    body = """
def work():
    global guard
    guard.close()
    del guard
def grandchild():
    if in_child(work) != 0:
        os._exit(3)
print(in_child(work), in_child(grandchild), guard.score("how to make bread") == before)
"""
    assert _run(body, any_bundle) == "0 0 True\n"


def test_a_fork_while_other_threads_score(any_bundle: Path) -> None:
    body = """
import threading
stop = threading.Event()
def busy():
    while not stop.is_set():
        guard.score("how to make bread " * 30)
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
def work():
    try:
        guard.score("a")
    except ForkedGuardError:
        return
    os._exit(3)
print([in_child(work) for _ in range(5)])
stop.set()
for thread in threads:
    thread.join()
"""
    assert _run(body, any_bundle) == "[0, 0, 0, 0, 0]\n"


def test_a_closed_guard_is_closed_in_the_child_too(small_bundle: Path) -> None:
    body = """
from harmguard import GuardClosedError
guard.close()
def work():
    try:
        guard.score("a")
    except GuardClosedError:
        return
    os._exit(3)
print(in_child(work))
"""
    assert _run(body, small_bundle) == "0\n"
