"""Runtimes that a user might pick instead, each imported only in an environment of its own.

`convert` writes what the runtime loads, once; `load` reads it. Fixed-shape runtimes get a
program for each length, one at a time, which costs them nothing in the timing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runtimes.backends import (
    FloatArray,
    HuggingFaceBackend,
    IntArray,
    Pair,
    probability,
    versions,
)

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LENGTHS = (32, 128, 512)
LOADED = 128
"""The program of this length is loaded with the runtime; another one takes its place when used."""
TEMPLATE_TOKENS = 210
"""Tokens of Llama-Guard-3-1B's template with its categories, around the texts."""


def logits_model(checkpoint: str) -> tuple[Any, list[str]]:
    """The checkpoint as a module from tensors to logits, and the names of its inputs in order."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from_pretrained: Any = AutoTokenizer.from_pretrained  # untyped in transformers
    names = list(from_pretrained(checkpoint).model_input_names)
    order = [n for n in INPUTS if n in names]
    inner = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()

    class LogitsModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *values: Any) -> Any:
            return self.inner(**dict(zip(order, values, strict=True))).logits

    return LogitsModel().eval(), order


def example(order: Sequence[str], tokens: int) -> tuple[Any, ...]:
    """Tensors of ones, int64 [1, tokens], for each input."""
    import torch

    return tuple(torch.ones(1, tokens, dtype=torch.int64) for _ in order)


class OpenVinoBackend(HuggingFaceBackend):
    """OpenVINO's own conversion of the torch model, free in batch and length."""

    tensors = "np"
    int8 = False

    def convert(self, settings: dict[str, Any]) -> list[str]:
        """Write the intermediate representation; int8: weights by NNCF."""
        import openvino

        path = self._path(settings)
        model, order = logits_model(settings["checkpoint"])
        made = openvino.convert_model(model, example_input=example(order, 16))
        for value, name in zip(made.inputs, order, strict=True):
            value.get_tensor().set_names({name})
            value.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
        made.validate_nodes_and_infer_types()
        if self.int8:
            import nncf

            made = nncf.compress_weights(made, mode=nncf.CompressWeightsMode.INT8_SYM)
        openvino.save_model(made, path, compress_to_fp16=False)
        return [str(path), str(path.with_suffix(".bin"))]

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Compile for the CPU, in fp32 arithmetic."""
        import openvino

        self.prepare(settings)
        hints = {
            "INFERENCE_NUM_THREADS": settings["threads"],
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._model = openvino.Core().compile_model(self._path(settings), "CPU", hints)
        self._names = [value.get_any_name() for value in self._model.inputs]
        return {"versions": versions("openvino", "transformers")}

    def run(self, feed: Any) -> FloatArray:
        """One inference."""
        return np.asarray(self._model(feed)[0])

    def _logits(self, inputs: Any) -> Any:
        return self.run({name: inputs[name] for name in self._names})

    def _path(self, settings: dict[str, Any]) -> Path:
        return Path(settings["cache"]) / f"openvino-{'int8' if self.int8 else 'fp32'}.xml"


class OpenVinoInt8Backend(OpenVinoBackend):
    """The same with int8 weights."""

    int8 = True


class FixedShapeBackend(HuggingFaceBackend):
    """Runtimes with a program for each length; batch 1 only."""

    tensors = "np"
    suffix: str
    packages: tuple[str, ...]

    def convert(self, settings: dict[str, Any]) -> list[str]:
        """Write a program for each length; the first is the one whose size counts."""
        model, order = logits_model(settings["checkpoint"])
        lengths = [n for n in LENGTHS if n <= settings["max_tokens"]]
        for tokens in lengths:
            path = self._path(settings, tokens)
            if not path.exists():  # a killed conversion goes on here
                aside = path.with_name(f"aside{self.suffix}")
                self.convert_one(model, example(order, tokens), aside)
                aside.rename(path)
        return [str(self._path(settings, LOADED if LOADED in lengths else lengths[0]))]

    def convert_one(self, model: Any, inputs: tuple[Any, ...], path: Path) -> None:
        """Write the program for inputs of one shape."""
        raise NotImplementedError

    def open_one(self, path: Path) -> Any:
        """Load one program: a callable from arrays to logits."""
        raise NotImplementedError

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load the tokenizer and the program of one length."""
        self.prepare(settings)
        self._settings = settings
        self._held: tuple[int, Any] | None = None
        self._names.sort(key=INPUTS.index)
        self._program(min(LOADED, settings["max_tokens"]))
        return {"versions": versions(*self.packages, "transformers")}

    def feed(self, ids: IntArray, types: IntArray) -> Any:
        """Arrays in the order of the program."""
        return list(super().feed(ids, types).values())

    def run(self, feed: Any) -> FloatArray:
        """One call of the program of this length."""
        return np.asarray(self._program(feed[0].shape[1])(feed))

    def _logits(self, inputs: Any) -> Any:
        return self.run([np.asarray(inputs[name], np.int64) for name in self._names])

    def _program(self, tokens: int) -> Any:
        if self._held is None or self._held[0] != tokens:
            self._held = None  # the weights of two programs would be in memory
            self._held = tokens, self.open_one(self._path(self._settings, tokens))
        return self._held[1]

    def _path(self, settings: dict[str, Any], tokens: int) -> Path:
        return Path(settings["cache"]) / f"fixed-{tokens}{self.suffix}"


class ExecuTorchBackend(FixedShapeBackend):
    """ExecuTorch with the XNNPACK delegate, fp32; it takes the cores that it finds."""

    suffix = ".pte"
    packages = ("executorch", "torch")

    def convert_one(self, model: Any, inputs: tuple[Any, ...], path: Path) -> None:
        """Export and lower to XNNPACK."""
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(model, inputs)
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)

    def open_one(self, path: Path) -> Any:
        """Load the program's only method."""
        import torch
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(path).load_method("forward")
        return lambda feed: method.execute([torch.from_numpy(value) for value in feed])[0].numpy()


class LiteRtBackend(FixedShapeBackend):
    """LiteRT (TensorFlow Lite), fp32."""

    suffix = ".tflite"
    packages = ("ai-edge-litert", "litert-torch")

    def convert_one(self, model: Any, inputs: tuple[Any, ...], path: Path) -> None:
        """Convert with litert-torch."""
        import litert_torch

        litert_torch.convert(model, inputs).export(str(path))

    def open_one(self, path: Path) -> Any:
        """An interpreter with its tensors allocated."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=self._settings["threads"])
        interpreter.allocate_tensors()
        # Their names end in the argument's place: serving_default_args_0, _1, _2.
        inputs = sorted(interpreter.get_input_details(), key=lambda value: str(value["name"]))
        (output,) = interpreter.get_output_details()

        def call(feed: Any) -> Any:
            for place, value in zip(inputs, feed, strict=True):
                interpreter.set_tensor(place["index"], value.astype(place["dtype"]))
            interpreter.invoke()
            return interpreter.get_tensor(output["index"])

        return call


class LlamaGuardBackend:
    """A random model of Llama-Guard-3-1B's shape in llama.cpp, Q4_0: the texts in its template.

    The ids are random: its arithmetic does not depend on them. The score is the share of one of
    two tokens, as a guard of this kind reads its verdict.
    """

    def convert(self, settings: dict[str, Any]) -> list[str]:
        """Write the model."""
        from benchmarks.runtimes.llama_gguf import write

        path = self._path(settings)
        write(path)
        return [str(path)]

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load with the threads of the others."""
        import llama_cpp

        self._library = llama_cpp
        self._llama = llama_cpp.Llama(
            model_path=str(self._path(settings)),
            n_ctx=1024,
            n_batch=1024,
            n_ubatch=512,
            n_threads=settings["threads"],
            n_threads_batch=settings["threads"],
            verbose=False,
        )
        return {"versions": versions("llama_cpp_python")}

    def encode(self, prompt: str, response: str) -> tuple[IntArray, IntArray]:
        """As many ids as the template and the words of the texts have."""
        count = TEMPLATE_TOKENS + len(prompt.split()) + len(response.split())
        ids = np.random.default_rng(count).integers(1000, 100_000, count)
        return ids, np.zeros_like(ids)

    def score(self, prompt: str, response: str) -> float:
        """Read the whole input and compare two of the next token's logits."""
        ids, types = self.encode(prompt, response)
        return probability(self.run(self.feed(ids[np.newaxis], types[np.newaxis])), 1.0)[0]

    def score_many(self, pairs: Sequence[Pair], batch: int) -> list[float]:
        """One by one."""
        return [self.score(*pair) for pair in pairs]

    def feed(self, ids: IntArray, types: IntArray) -> Any:
        """A list of ids."""
        return ids[0].tolist()

    def run(self, feed: Any) -> FloatArray:
        """Logits [1, 2] of two tokens after the input."""
        self._llama.reset()
        self._llama.eval(feed)
        logits = self._library.llama_get_logits_ith(self._llama.ctx, -1)
        return np.array([[logits[0], logits[1]]], np.float32)

    def _path(self, settings: dict[str, Any]) -> Path:
        # The same for every size of the guard, so it is made once.
        return Path(settings["cache"]).parent / "llama-guard-1b-q4_0.gguf"


PEER_BACKENDS: dict[str, type[Any]] = {
    "openvino_fp32": OpenVinoBackend,
    "openvino_int8": OpenVinoInt8Backend,
    "executorch": ExecuTorchBackend,
    "litert": LiteRtBackend,
    "llama_guard": LlamaGuardBackend,
}
