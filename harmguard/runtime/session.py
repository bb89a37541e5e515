"""The model in onnxruntime: the only import of onnxruntime in the package."""

from __future__ import annotations

import ctypes
import os
import re
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from harmguard.bundle import Bundle, check_graph, check_runtime, require_onnx, version_key
from harmguard.core.batch import Logits
from harmguard.core.cores import allowed_cores
from harmguard.core.encode import IntArray
from harmguard.core.text import one_line
from harmguard.errors import BundleFileError, GraphMismatchError, RunError
from harmguard.runtime.calls import Slots, refuse_at_exit, stop_at_exit, under_way
from harmguard.runtime.heap import mark_heap, release_marked
from harmguard.runtime.weights import Arrays, can_see_maps, read_weights, still_mapped

MAX_MEMORY = 8_000_000_000
"""What tensors of one model may take together, in bytes, beside twice its weights."""

# Releases from 1.21 on end the process when they run from weights that they have stored packed.
_PACKS = (1, 32)
_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def _import_onnxruntime() -> Any:
    """onnxruntime without its telemetry.

    From 1.29 on it uploads events from native threads, and leaves an identifier in the user's
    cache folder; a forked child also hangs at its exit on those threads. It reads the variable
    once, when it is loaded, so the caller's environment is put back.
    """
    before = os.environ.get(_TELEMETRY)
    os.environ[_TELEMETRY] = "1"
    try:
        import onnxruntime
    finally:
        if before is None:
            del os.environ[_TELEMETRY]
        else:
            os.environ[_TELEMETRY] = before
    # The most that can be done where the program had loaded it before.
    onnxruntime.disable_telemetry_events()
    return onnxruntime


ort = _import_onnxruntime()


_FATAL = 4  # below it onnxruntime prints errors, with token ids in them, which are the text
_plain, _shrinking = ort.RunOptions(), ort.RunOptions()
_plain.log_severity_level = _shrinking.log_severity_level = _FATAL
_shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")


def _stop_runs() -> None:
    _plain.terminate = _shrinking.terminate = True


stop_at_exit(_stop_runs)


class Session:
    """One model, ready to run. `run` may be called by several threads at once.

    As many runs take place at once as the allowed cores are enough for, at least one; the others
    wait in the order of arrival. More would not be faster, and each needs memory of its own.
    """

    def __init__(self, bundle: Bundle, threads: int, prepared: Path | None = None) -> None:
        """Load the bundle's model, or the `prepared` model.onnx that `save_prepared` made of it."""
        check_runtime(ort.__version__, require_onnx(bundle))
        if prepared is None:
            session = _from_bundle(bundle, threads)
        else:
            options = _options(threads)
            # It was saved after optimisation, and a second one could change what is packed.
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = _create(str(prepared), options, bundle)
        check_graph(session.get_inputs(), session.get_outputs(), bundle.manifest)
        self._session = session
        self._names = bundle.manifest.input.names
        self._output = bundle.manifest.input.output
        self._labels = len(bundle.manifest.labels)
        self._slots = Slots(max(1, int(allowed_cores()) // threads))
        self._lock = threading.Lock()
        self._callers = 0
        self._scattered = self._unshrunk = False
        self._last_large: int | None = None
        _living.add(self)

    def run(
        self, ids: IntArray, mask: IntArray, types: IntArray, *, shrink: bool = False
    ) -> Logits:
        """Logits, float32 [batch, labels], of int64 [batch, length] inputs.

        `shrink` gives back what the runs so far needed, once this one is done. Raises RunError
        for whatever onnxruntime raises, GraphMismatchError for a result of another shape, and
        GuardClosedError where the process is ending.
        """
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        feed = {name: inputs[name] for name in self._names}
        with under_way():
            self._enter(shrink)
            try:
                with self._slots:
                    refuse_at_exit()
                    logits = self._run(feed)
            finally:
                self._leave()
        if logits.shape != (len(ids), self._labels):
            raise GraphMismatchError(
                f"the model gave a result of shape {list(logits.shape)}; expected "
                f"[{len(ids)}, {self._labels}], a row of logits for each input; likely a graph "
                "with a fixed batch size"
            )
        return logits

    def _run(self, feed: dict[str, IntArray]) -> Logits:
        # What is given back while others run would be asked for again, from each thread's heap.
        shrink = self._unshrunk and self._callers <= 1
        try:
            logits: Logits = self._session.run(
                [self._output], feed, _shrinking if shrink else _plain
            )[0]
            self._unshrunk = self._unshrunk and not shrink
            return logits
        except Exception as error:  # onnxruntime's errors have no common base of their own
            kind = type(error).__name__
        refuse_at_exit()  # it was stopped
        rows, length = feed["input_ids"].shape
        # By its class alone: its message may hold token ids, which are the text.
        raise RunError(
            f"onnxruntime failed on {rows} inputs of {length} tokens ({kind}); expected logits; "
            "likely too little memory, or token ids that the model has no embedding for: "
            "`harmguard verify` checks a bundle"
        )

    def _enter(self, large: bool) -> None:
        with self._lock:
            self._callers += 1
            if large:
                thread = threading.get_ident()
                self._scattered |= self._last_large not in (None, thread)
                self._unshrunk, self._last_large = True, thread
        if large:
            mark_heap()

    def _leave(self) -> None:
        """Give memory back when nobody is left, where it lies in the heaps of several threads."""
        with self._lock:
            self._callers -= 1
            if self._callers or not self._scattered:
                return
            unshrunk, self._scattered = self._unshrunk, False
        if unshrunk:
            # The last runs took place side by side, so none could: only a run gives back.
            one = np.zeros((1, 1), np.int64)
            with suppress(RunError), self._slots:
                self._run({name: one + (name == "attention_mask") for name in self._names})
        release_marked()


def save_prepared(bundle: Bundle, path: Path) -> None:
    """Write the bundle's model to `path`, optimised, its weights beside it as PATH.data.

    The weights are there as the model has them, and as this processor's kernels pack them.
    Raises BundleFileError, also where onnxruntime cannot write.
    """
    check_runtime(ort.__version__, require_onnx(bundle))
    options = _options(1)
    options.optimized_model_filepath = str(path)
    key = "session.optimized_model_external_initializers_file_name"
    options.add_session_config_entry(key, f"{path.name}.data")
    if version_key(ort.__version__) >= _PACKS:
        key = "session.save_external_prepacked_constant_initializers"
        options.add_session_config_entry(key, "1")
    bundle.check_weights()
    weights: Arrays = {}
    if _takes_a_folder():
        _let_map(options, bundle)
    else:
        weights = read_weights(bundle, bundle.weights)
    _create(bundle.read("model.onnx"), options, bundle, weights)
    bundle.check_weights()


def _options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # What it logs holds names out of the model, raw; what goes wrong it raises as well.
    options.log_severity_level = _FATAL
    # Without an arena every tensor is new pages, half of the time at 512 tokens.
    options.enable_cpu_mem_arena = True
    # A plan per shape keeps the peak of the largest batch for good.
    options.enable_mem_pattern = False
    # Threads that wait for the next run would otherwise burn ten times what a short one takes.
    options.add_session_config_entry(*_spinning(ort.__version__))
    return options


def _spinning(version: str) -> tuple[str, str]:
    """The entry that ends a thread's spinning soon after a run, by onnxruntime's release."""
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if release >= (1, 32):
        # Long enough for calls that follow one another, which would have to wake them.
        return "session.intra_op.spin_duration_us", "1500"
    return "session.force_spinning_stop", "1"


def _register_arena(limit: int) -> bool:
    """Let the next session have an arena that asks the system for no more than it is asked.

    It has `limit` bytes at most. The arena that a session makes itself doubles at every growth,
    which Python cannot set. False where an older onnxruntime has one already and does not replace
    it: it may be no arena.
    """
    place = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    settings = {"arena_extend_strategy": 1, "max_mem": limit}
    try:
        ort.create_and_register_allocator(place, ort.OrtArenaCfg(settings))
    except Exception:  # onnxruntime's errors have no common base of their own
        return False
    return True


def _from_bundle(bundle: Bundle, threads: int) -> Any:
    """A session on the bytes of the graph that were checked, its weights in memory.

    Raises BundleFileError, also for weights that changed meanwhile.
    """
    graph = bundle.read("model.onnx")
    bundle.check_weights()
    session = None
    # onnxruntime follows no link out of the folder, which an installed guard's files may be.
    linked = any(bundle.path(weight.location).is_symlink() for weight in bundle.weights)
    if bundle.weights and not linked and _takes_a_folder() and can_see_maps():
        options = _options(threads)
        _let_map(options, bundle)
        held = [weight for weight in bundle.weights if not weight.packed]
        values = _share_with(options, read_weights(bundle, held))
        session = _create(graph, options, bundle)
        # onnxruntime keeps pointers to them, and not their owners.
        session.harmguard_values = values
        if still_mapped({bundle.path(weight.location) for weight in bundle.weights}):
            session = None
    if session is None:
        session = _create(graph, _options(threads), bundle, read_weights(bundle, bundle.weights))
    bundle.check_weights()
    return session


def _takes_a_folder() -> bool:
    """Whether this release finds the weights of a model that it gets as bytes."""
    return version_key(ort.__version__) >= (1, 21)


def _let_map(options: Any, bundle: Bundle) -> None:
    key = "session.model_external_initializers_file_folder_path"
    options.add_session_config_entry(key, os.path.abspath(bundle.folder))


def _share_with(options: Any, arrays: Arrays) -> Any:
    """Let a session use `arrays` where they are; they and the result must live as long as it."""
    values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
    for name, value in values.items():
        options.add_initializer(name, value)
    return arrays, values


def _create(model: str | bytes, options: Any, bundle: Bundle, weights: Arrays | None = None) -> Any:
    """A session that has copied `weights`. Raises BundleFileError."""
    limit = MAX_MEMORY + 2 * sum(entry.size for entry in bundle.manifest.files.values())
    if _register_arena(limit):
        options.add_session_config_entry("session.use_env_allocators", "1")
    # onnxruntime has no reference to them, and reads them when the session is made.
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in (weights or {}).values()]
    try:
        if weights:
            options.add_external_initializers(list(weights), values)
        # Without its fallback, which prints to standard output.
        return ort.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's errors have no common base of their own
        raise BundleFileError(
            f"model.onnx cannot be loaded ({type(error).__name__}: {one_line(str(error))}); "
            f"expected a graph for onnxruntime {require_onnx(bundle).onnxruntime} or newer; likely "
            + _cause(str(error))
        ) from None


def _cause(message: str) -> str:
    """What most likely keeps onnxruntime from loading a model, by its own words."""
    if "pthread_create" in message or "Resource temporarily unavailable" in message:
        return "a limit on processes (`ulimit -u`, or the container's pids limit): raise it"
    if "/proc" in message:
        return "a container or chroot without /proc: mount it, because onnxruntime reads it"
    return "an operator that the installed release lacks, or a damaged export"


_living: weakref.WeakSet[Session] = weakref.WeakSet()


def _leak_after_fork() -> None:
    # Destroying an inherited session would join threads that exist in the parent only.
    for session in _living:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session._session))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leak_after_fork)
