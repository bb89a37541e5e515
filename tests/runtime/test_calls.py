"""Several threads at once: how many run, what they leave behind, and who else gets a turn."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harmguard import HarmGuard
from harmguard.bundle import EMBEDDED, load_tokenizer, open_bundle
from harmguard.core.cores import allowed_cores
from harmguard.core.encode import PairEncoder
from harmguard.core.tokenizing import LONG_CHARS, encode_text
from harmguard.runtime.calls import Slots

on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs procfs")


# Turns


@pytest.mark.parametrize("count", [1, 2, 5])
def test_so_many_holders_at_once_in_the_order_of_arrival(count: int) -> None:
    slots, lock = Slots(count), threading.Lock()
    order: list[int] = []
    most = [0, 0]
    started, full = threading.Barrier(2), threading.Event()

    def hold(number: int) -> None:
        started.wait()
        with slots:
            with lock:
                order.append(number)
                most[0] += 1
                most[1] = max(most)
                if most[1] >= count:
                    full.set()
            # Nobody leaves before all places are taken, however slow the machine.
            full.wait(30)
            time.sleep(0.01)
            with lock:
                most[0] -= 1

    with ThreadPoolExecutor(12) as pool:
        results = []
        for number in range(12):
            results.append(pool.submit(hold, number))
            started.wait()
            time.sleep(0.001)
        for result in results:
            result.result()
    assert most == [0, count]
    if count == 1:
        assert order == list(range(12))


def test_a_holder_that_fails_gives_its_place_back() -> None:
    slots = Slots(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), slots:
            raise ZeroDivisionError
    with slots:
        pass


INTERRUPTED = """
import os, signal, threading
from harmguard.runtime.calls import Slots
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
slots = Slots(1)
entered, leave = threading.Event(), threading.Event()
def hold():
    with slots:
        entered.set()
        leave.wait()
thread = threading.Thread(target=hold)
thread.start()
entered.wait()
threading.Timer(.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    with slots:
        raise SystemExit(3)
except KeyboardInterrupt:
    pass
leave.set()
thread.join()
with slots:
    print("free")
"""


def test_who_is_interrupted_while_waiting_leaves_the_queue() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "free\n", "")


@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_runs_at_once_as_there_are_cores_for(small_bundle: Path, threads: int) -> None:
    if allowed_cores() < threads:
        pytest.skip("fewer cores")
    running, most, lock = 0, 0, threading.Lock()

    class Counted:
        def __init__(self, session: Any) -> None:
            self.session = session

        def run(self, *arguments: Any) -> Any:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.01)
            found = self.session.run(*arguments)
            with lock:
                running -= 1
            return found

    with HarmGuard(small_bundle, threads=threads) as guard:
        assert guard._session is not None
        guard._session._session = Counted(guard._session._session)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: guard.score("how to"), range(24)))
    assert most == max(1, int(allowed_cores()) // threads)


# Memory

MEMORY = """
import sys, threading, time
from harmguard import HarmGuard
from harmguard.bench.memory import read

guard = HarmGuard(threads=1)
text = "How do I bake bread with rye flour? " * int(sys.argv[3])

def work():
    for _ in range(2):
        guard.score(text, text)

def rounds():
    if sys.argv[2] == "together":
        threads = [threading.Thread(target=work) for _ in range(int(sys.argv[1]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:  # all alive, one after the other
        for done in [threading.Event() for _ in range(int(sys.argv[1]))]:
            threading.Thread(target=lambda: (work(), done.set(), end.wait()), daemon=True).start()
            done.wait()

end = threading.Event()
rounds()
time.sleep(.5)
print(read().anonymous)
"""


@on_linux
@pytest.mark.parametrize(
    ("threads", "how", "times"), [(8, "together", 25), (6, "turns", 27), (5, "together", 30)]
)
def test_many_threads_leave_no_more_behind_than_one(threads: int, how: str, times: int) -> None:
    def anonymous(count: int) -> float:
        command = [sys.executable, "-W", "error", "-c", MEMORY, str(count), how, str(times)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        return float(done.stdout)

    assert anonymous(threads) <= anonymous(1) + 20


# Processor time

IDLE = """
import os, sys, time
from harmguard import HarmGuard

def used():
    found = os.times()
    return 1000 * (found.user + found.system)

guard = HarmGuard(threads=2)
text = "bread " * int(sys.argv[1])
for _ in range(5):
    guard.score(text)
idle = 0
for _ in range(4):
    guard.score(text)
    before = used()
    time.sleep(.1)
    idle += used() - before
print(idle / 4)
"""


@on_linux
@pytest.mark.skipif(allowed_cores() < 2, reason="one core: one thread")
@pytest.mark.parametrize("tokens", [9, 70, 300])
def test_threads_do_not_spin_between_calls(tokens: int) -> None:
    command = [sys.executable, "-c", IDLE, str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < 8


# Python's lock


@pytest.fixture(scope="module")
def encoder() -> PairEncoder:
    bundle = open_bundle(EMBEDDED)
    spec = bundle.manifest.input
    return PairEncoder(load_tokenizer(bundle), spec.template, spec.max_tokens)


LONG = {
    "japanese": "\u3053\u3093\u306b\u3061\u306f\u6f22\u5b57" * 28_000,
    "punctuation": "?!." * 66_000,
    "hangul": "\uc548\ub155\ud558\uc138\uc694 " * 33_000,
    "words": "extraordinary bread " * 10_000,
}


@pytest.mark.parametrize("name", LONG)
def test_other_threads_run_while_a_long_text_is_encoded(encoder: PairEncoder, name: str) -> None:
    turns, stop = 0, threading.Event()

    def other() -> None:
        nonlocal turns
        while not stop.is_set():
            time.sleep(0.0005)
            turns += 1

    thread = threading.Thread(target=other)
    thread.start()
    try:
        before = turns
        encode_text(encoder.tokenizer, LONG[name])
        during = turns - before
    finally:
        stop.set()
        thread.join()
    assert during >= 5


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("size", [LONG_CHARS - 1, LONG_CHARS, LONG_CHARS + 1, 50_000])
def test_a_long_text_gets_the_ids_that_it_had(encoder: PairEncoder, name: str, size: int) -> None:
    text = LONG[name][:size]
    found = encode_text(encoder.tokenizer, text)
    alone = encoder.tokenizer.encode(text, add_special_tokens=False)
    assert found.ids == alone.ids
    assert found.offsets == alone.offsets


FORK = """
import os, sys
from harmguard import HarmGuard
guard = HarmGuard(threads=1)
guard.score("a", "\\u4e2d" * 5000)
pid = os.fork()
if pid == 0:
    assert 0 <= HarmGuard(threads=1).score("a", "\\u4e2d" * 5000) <= 1
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert "TOKENIZERS_PARALLELISM" not in os.environ
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_after_a_long_text_says_nothing() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
