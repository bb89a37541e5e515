"""The end of a process while daemon threads score: exit status 0, and a named error for them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from harmguard.bundle import EMBEDDED

HEAD = """
import sys, threading, time, warnings
from harmguard import GuardClosedError, HarmGuard
guard = HarmGuard(sys.argv[1], threads=1)
LONG = "how to make bread, please, in a kind way. " * 400
CHINESE = "\\u4e2d\\u6587\\u5b57" * 60_000
entered = threading.Event()

def say(what):
    sys.stdout.write(what + "\\n")
    sys.stdout.flush()

def start(work, count=1, daemon=True):
    for _ in range(count):
        threading.Thread(target=work, daemon=daemon).start()
"""

# Each ends while at least one daemon thread is in native code.
PROGRAMS = {
    "one long text": """
def work():
    entered.set()
    try:
        while True:
            guard.score(LONG)
    except GuardClosedError as error:
        assert "the process is ending" in str(error)
        say("refused")
start(work)
entered.wait()
time.sleep(.05)
""",
    "a loop of short texts": """
def work():
    try:
        while True:
            guard.score("how to make bread")
            entered.set()
    except GuardClosedError:
        say("refused")
start(work)
entered.wait()
""",
    "more threads than slots": """
def work():
    try:
        while True:
            guard.score_many([(LONG, "kind")] * 3)
            entered.set()
    except GuardClosedError:
        say("refused")
start(work, 6)
time.sleep(.3)
""",
    "a long text that is encoded": """
def work():
    entered.set()
    try:
        while True:
            guard.score("a", CHINESE)
    except GuardClosedError:
        say("refused")
start(work)
entered.wait()
time.sleep(.1)
""",
    "guards that are being loaded": """
def work():
    entered.set()
    try:
        while True:
            HarmGuard(sys.argv[1], threads=1).close()
    except GuardClosedError:
        say("refused")
start(work, 2)
entered.wait()
time.sleep(.1)
""",
    "sys.exit in the main thread": """
def work():
    try:
        while True:
            guard.check_many([(LONG, None), ("a", "b")])
    except GuardClosedError:
        say("refused")
start(work, 2)
time.sleep(.2)
sys.exit(0)
""",
    "an HTTP server with a request in flight": """
import http.server, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        entered.set()
        try:
            guard.score_many([(LONG, None)] * 50)
        except GuardClosedError:
            say("refused")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
start(server.serve_forever)
def ask():
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=20)
    except Exception:
        pass
start(ask)
entered.wait()
time.sleep(.1)
""",
}


def _end(program: str, bundle: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD + program, str(bundle)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_daemon_thread_in_score_does_not_abort_the_process(name: str) -> None:
    done = _end(PROGRAMS[name], EMBEDDED)
    assert (done.returncode, done.stderr) == (0, "")
    # Between two short calls nothing is under way, and a thread may end without another.
    assert set(done.stdout.split()) in ({"refused"}, set() if "short" in name else {"refused"})


def test_threads_that_are_joined_finish_their_work(small_bundle: Path) -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
def work():
    time.sleep(.1)
    say(str(len(guard.score_many([("how to", None)] * 40))))
start(work, 2, daemon=False)
ThreadPoolExecutor(1).submit(work)
"""
    done = _end(program, small_bundle)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["40"] * 3, "")


def test_what_a_program_does_at_its_end_may_still_score(small_bundle: Path) -> None:
    program = """
import atexit
atexit.register(lambda: say("scored" if 0 <= guard.score("how to") <= 1 else "not"))
"""
    done = _end(program, small_bundle)
    assert (done.returncode, done.stdout, done.stderr) == (0, "scored\n", "")


def test_a_run_that_would_take_long_is_stopped(small_bundle: Path) -> None:
    program = """
import numpy as np
session = guard._session
ids = np.full((20_000, 64), 5, np.int64)
mask = np.ones_like(ids)
def work():
    entered.set()
    try:
        while True:
            session._run({"input_ids": ids, "attention_mask": mask, "token_type_ids": mask})
    except GuardClosedError:
        say("refused")
def in_native_code():
    from harmguard.runtime.calls import under_way
    try:
        with under_way():
            work()
    except GuardClosedError:
        pass
start(in_native_code)
entered.wait()
time.sleep(.1)
"""
    before = time.monotonic()
    done = _end(program, small_bundle)
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused\n", "")
    assert time.monotonic() - before < 30


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this system")
def test_a_fork_while_threads_score_ends_at_once_in_the_child(small_bundle: Path) -> None:
    program = """
import os
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
def work():
    try:
        while True:
            guard.score(LONG)
    except GuardClosedError:
        pass
start(work, 3)
time.sleep(.2)
pid = os.fork()
if pid == 0:
    own = HarmGuard(sys.argv[1], threads=1)
    assert 0 <= own.score("how to") <= 1
    sys.exit(0)
say(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
"""
    done = _end(program, small_bundle)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
