"""The runtimes that are compared, each as its user would run it, all with the same work.

`score` starts from text and ends at a probability; `run` is the bare model, from ready inputs to
logits. Both are timed, so that a runtime's tokenizer and wrapper are seen apart from its kernels.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Pair = tuple[str, str]


class Backend(Protocol):
    """One runtime with one model loaded."""

    def convert(self, settings: dict[str, Any]) -> list[str]:
        """Write what `load` reads, where that takes a conversion; the files of the model."""

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load with the settings of `sameness`; returns what the runtime was set to."""

    def encode(self, prompt: str, response: str) -> tuple[IntArray, IntArray]:
        """Ids and token types of one pair, special tokens included."""

    def score(self, prompt: str, response: str) -> float:
        """From text to P(harmful)."""

    def score_many(self, pairs: Sequence[Pair], batch: int) -> list[float]:
        """From texts to P(harmful), input order, `batch` texts at a time (0: as it likes)."""

    def feed(self, ids: IntArray, types: IntArray) -> Any:
        """Inputs of the bare model from ids and types [batch, length] without padding."""

    def run(self, feed: Any) -> FloatArray:
        """The bare model: logits [batch, 2]."""


def probability(logits: FloatArray, temperature: float) -> list[float]:
    """softmax(logits / temperature)[1] of each row. Peers' environments have no harmguard."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: list[float] = (powers[:, 1] / powers.sum(axis=1)).tolist()
    return shares


class HarmGuardBackend:
    """harmguard: the public API, and the session inside it."""

    def convert(self, settings: dict[str, Any]) -> list[str]:
        """Prepare the bundle for this machine in the cache, as `harmguard prepare` does."""
        from harmguard.bundle import open_bundle
        from harmguard.prepared.prepare import prepare

        prepare(open_bundle(Path(settings["bundle"])), Path(settings["cache"]))
        return [str(path) for path in Path(settings["bundle"]).glob("model.onnx*")]

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Open the bundle, prepared where a cache is set; it decides whether idle threads spin."""
        import harmguard

        start = time.perf_counter()
        self._guard = harmguard.HarmGuard(
            settings["bundle"], threads=settings["threads"], cache=settings.get("cache")
        )
        seconds = time.perf_counter() - start
        session = self._guard._session
        assert session is not None
        self._session = session
        return {
            "load_s": seconds,
            "spinning": _spinning(session._session.get_session_options()),
            "versions": versions("onnxruntime", "tokenizers", "numpy"),
        }

    def encode(self, prompt: str, response: str) -> tuple[IntArray, IntArray]:
        """The only window of a pair that fits."""
        (window,) = self._guard._encoder.encode_plain(prompt, response).windows
        return window.ids, window.types

    def score(self, prompt: str, response: str) -> float:
        """HarmGuard.score."""
        return self._guard.score(prompt, response)

    def score_many(self, pairs: Sequence[Pair], batch: int) -> list[float]:
        """HarmGuard.score_many, which makes batches of like length itself."""
        return [float(score) for score in self._guard.score_many(pairs)]

    def feed(self, ids: IntArray, types: IntArray) -> Any:
        """Arguments of the session."""
        return ids, np.ones_like(ids), types

    def run(self, feed: Any) -> FloatArray:
        """One call of the session."""
        return self._session.run(*feed)


class HuggingFaceBackend:
    """What the two Hugging Face runtimes share: the checkpoint's tokenizer and the batching."""

    tensors: str
    _tokenizer: Any
    _model: Any

    def convert(self, settings: dict[str, Any]) -> list[str]:
        """A checkpoint is ready as it is."""
        return [str(path) for path in Path(settings["checkpoint"]).glob("*.safetensors")]

    def prepare(self, settings: dict[str, Any]) -> None:
        """Load the tokenizer."""
        from transformers import AutoTokenizer

        self._temperature = float(settings["temperature"])
        self._max_tokens = int(settings["max_tokens"])
        from_pretrained: Any = AutoTokenizer.from_pretrained  # untyped in transformers
        self._tokenizer = from_pretrained(settings["checkpoint"])
        self._names = list(self._tokenizer.model_input_names)

    def tokenize(self, prompts: list[str], responses: list[str]) -> Any:
        """Model inputs, padded to the longest of the batch and cut at the model's length."""
        return self._tokenizer(
            prompts,
            responses,
            padding=len(prompts) > 1,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors=self.tensors,
        )

    def encode(self, prompt: str, response: str) -> tuple[IntArray, IntArray]:
        """The tokenizer's own encoding of one pair."""
        made = self._tokenizer(
            prompt, response, truncation=True, max_length=self._max_tokens, return_tensors="np"
        )
        ids = np.asarray(made["input_ids"][0], np.int64)
        types = made.get("token_type_ids")
        return ids, np.zeros_like(ids) if types is None else np.asarray(types[0], np.int64)

    def feed(self, ids: IntArray, types: IntArray) -> Any:
        """Arrays for the inputs that the model has."""
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        return {name: feed[name] for name in self._names}

    def score(self, prompt: str, response: str) -> float:
        """One pair, from text."""
        return self._scores([prompt], [response])[0]

    def score_many(self, pairs: Sequence[Pair], batch: int) -> list[float]:
        """Batches in input order."""
        scores: list[float] = []
        for start in range(0, len(pairs), batch):
            prompts, responses = zip(*pairs[start : start + batch], strict=True)
            scores += self._scores(list(prompts), list(responses))
        return scores

    def _scores(self, prompts: list[str], responses: list[str]) -> list[float]:
        logits = self._logits(self.tokenize(prompts, responses))
        return probability(np.asarray(logits), self._temperature)

    def _logits(self, inputs: Any) -> Any:
        return self._model(**inputs).logits


class TorchBackend(HuggingFaceBackend):
    """transformers + torch, fp32, attention as transformers chooses it."""

    tensors = "pt"
    dtype = "float32"

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load the checkpoint in the backend's precision."""
        import torch
        from transformers import AutoModelForSequenceClassification

        start = time.perf_counter()
        self._torch = torch
        torch.set_num_threads(settings["threads"])
        self.prepare(settings)
        model = AutoModelForSequenceClassification.from_pretrained(
            settings["checkpoint"], torch_dtype=getattr(torch, self.dtype)
        )
        self._model = model.eval()
        seconds = time.perf_counter() - start
        return {"load_s": seconds, "versions": versions("torch", "transformers")}

    def feed(self, ids: IntArray, types: IntArray) -> Any:
        """Tensors."""
        return {n: self._torch.from_numpy(a) for n, a in super().feed(ids, types).items()}

    def run(self, feed: Any) -> FloatArray:
        """One forward pass."""
        return np.asarray(self._logits(feed))

    def _logits(self, inputs: Any) -> Any:
        with self._torch.inference_mode():
            return self._model(**inputs).logits.float().numpy()


class TorchBf16Backend(TorchBackend):
    """The same with weights and arithmetic in bfloat16."""

    dtype = "bfloat16"


class OptimumBackend(HuggingFaceBackend):
    """optimum's export with onnxruntime's dynamic int8, the models that _optimum_export wrote."""

    tensors = "np"
    file = "model_quantized.onnx"

    def convert(self, settings: dict[str, Any]) -> list[str]:
        """Export, and quantise, into the cache."""
        from benchmarks.runtimes.optimum_export import export

        out = Path(settings["optimum"])
        if not (out / self.file).exists():
            export(settings["checkpoint"], out)
        return [str(path) for path in out.glob(f"{self.file}*")]

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load the quantised model with the threads and the spinning that harmguard has."""
        import onnxruntime
        from optimum.onnxruntime import ORTModelForSequenceClassification

        start = time.perf_counter()
        self.prepare(settings)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings["threads"]
        options.add_session_config_entry("session.intra_op.allow_spinning", settings["spinning"])
        self._model = ORTModelForSequenceClassification.from_pretrained(
            settings["optimum"], file_name=self.file, session_options=options
        )
        self._session = self._model.model
        self._names = [value.name for value in self._session.get_inputs()]
        seconds = time.perf_counter() - start
        size = (Path(settings["optimum"]) / self.file).stat().st_size
        found = versions("optimum", "optimum-onnx", "onnxruntime", "transformers")
        return {"load_s": seconds, "versions": found, "model_bytes": size}

    def run(self, feed: Any) -> FloatArray:
        """One call of the session."""
        return np.asarray(self._session.run(None, feed)[0])


class OptimumFp32Backend(OptimumBackend):
    """optimum's export as it comes."""

    file = "model.onnx"


def _spinning(options: Any) -> str:
    """Whether idle threads of a session spin, "1" or "0", as onnxruntime's options say."""
    try:
        return str(options.get_session_config_entry("session.intra_op.allow_spinning"))
    except RuntimeError:  # how it says that the entry was left at its default, on
        return "1"


def versions(*packages: str) -> dict[str, str]:
    """Installed versions."""
    return {name: metadata.version(name) for name in packages}


BACKENDS: dict[str, type[HarmGuardBackend | TorchBackend | OptimumBackend]] = {
    "harmguard": HarmGuardBackend,
    "torch": TorchBackend,
    "torch_bf16": TorchBf16Backend,
    "optimum": OptimumBackend,
    "optimum_fp32": OptimumFp32Backend,
}
