"""A torch checkpoint from an int8 bundle of BERT's graph: the shipped guard's weights, dequantised.

    python -m benchmarks rebuilt BUNDLE OUT

The fp32 checkpoint of the shipped guard is not in the repository. This one computes what the
bundle computes, without the rounding of activations. Needs onnx, torch and transformers.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness.command import Script
from benchmarks.harness.errors import BenchmarkDataError

Arrays = dict[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float32]


SPECIALS = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}


def write(bundle: Path, out: Path) -> None:
    """Write config, weights and tokenizer of `bundle` as transformers saves them.

    Raises BenchmarkDataError for a graph that is not the exporter's int8 BERT.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    arrays, factors, heads = read(bundle / "model.onnx")
    try:
        state = weights(arrays, factors, heads)
    except KeyError as error:
        raise BenchmarkDataError(
            f"the graph of {bundle.name} has no weight {error}; expected an int8 BERT guard"
        ) from None
    vocabulary, width = state["bert.embeddings.word_embeddings.weight"].shape
    layers = sum(name.endswith("intermediate.dense.bias") for name in state)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=len(state["bert.encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(state["bert.embeddings.position_embeddings.weight"]),
        id2label={0: "safe", 1: "harmful"},
    )
    model = BertForSequenceClassification(config).eval()
    model.load_state_dict({n: torch.from_numpy(np.array(a, np.float32)) for n, a in state.items()})
    model.save_pretrained(out)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(bundle / "tokenizer.json"),
        model_max_length=config.max_position_embeddings,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIALS,
    )
    tokenizer.save_pretrained(str(out))
    shutil.copy(bundle / "tokenizer.json", out / "tokenizer.json")


def read(model: Path) -> tuple[Arrays, Arrays, int]:
    """Arrays by name, what the input of each int8 product is multiplied by, and the heads."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(model)).graph
    arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    writers = {node.output[0]: node for node in graph.node}
    factors: Arrays = {}
    heads = 1
    for node in graph.node:
        if node.op_type == "MultiHeadAttention":
            heads = next(a.i for a in node.attribute if a.name == "num_heads")
        if node.op_type == "MatMulIntegerToFloat":
            rounded = writers[node.input[0]]
            # A range fixed at export divides by both steps' quotient; a token's own cancels out.
            factors[node.input[1]] = arrays[node.input[2]] / arrays[rounded.input[1]]
            before = writers.get(rounded.input[0])
            if before is not None and before.op_type == "Mul":
                last = writers.get(before.input[1])
                if last is not None and last.op_type == "Reciprocal":
                    before = writers.get(before.input[0])
            if before is not None and before.input[-1].endswith(".factors"):
                factors[node.input[1]] = factors[node.input[1]] * arrays[before.input[-1]]
    return arrays, factors, heads


def weights(arrays: Arrays, factors: Arrays, heads: int) -> Arrays:
    """The state of a BertForSequenceClassification; KeyError names a weight that is not there.

    What a channel is multiplied by before it is rounded goes back into the weights. The values'
    own factors stay, with the output layer that undoes them.
    """
    state = {name: value for name, value in arrays.items() if name.startswith("bert.")}
    embeddings = "bert.embeddings"
    words = arrays["words"].astype(np.float32) * arrays["words.scale"]
    state[f"{embeddings}.word_embeddings.weight"] = words
    state[f"{embeddings}.position_embeddings.weight"] = arrays["positions"]
    state[f"{embeddings}.token_type_embeddings.weight"] = arrays["types"]
    last = max(int(name.split(".")[0]) for name in arrays if name.endswith(".down"))
    for layer in range(last + 1):
        prefix = f"bert.encoder.layer.{layer}"

        def int8(part: str, first: str = "", layer: int = layer) -> Floats:
            return _int8(arrays, factors, f"{layer}.{part}", f"{layer}.{first or part}")

        if layer == last:
            parts = _first_row(arrays, layer)
        else:
            query, key = (_unmarked(int8(part, "query"), heads) for part in ("query", "key"))
            bias = _unmarked(arrays[f"{layer}.query.bias"], heads)
            value = int8("value", "query"), arrays[f"{layer}.value.bias"]
            parts = [(query, bias), (key, np.zeros_like(bias)), value]
        for name, (weight, bias) in zip(("query", "key", "value"), parts, strict=True):
            _linear(state, f"{prefix}.attention.self.{name}", weight, bias)
        for part, name in (("o", "attention.output"), ("up", "intermediate"), ("down", "output")):
            _linear(state, f"{prefix}.{name}.dense", int8(part), arrays[f"{layer}.{part}.bias"])
    _linear(state, "bert.pooler.dense", arrays["pooler"], arrays["pooler.bias"])
    _linear(state, "classifier", arrays["classifier"], arrays["classifier.bias"])
    return state


def _linear(state: Arrays, name: str, weight: Floats, bias: Floats) -> None:
    state[f"{name}.weight"], state[f"{name}.bias"] = np.ascontiguousarray(weight.T), bias


def _int8(arrays: Arrays, factors: Arrays, name: str, first: str) -> Floats:
    """A weight [in, out] in float32, the channels among them that `first` says are kept so."""
    small: Floats = arrays[name].astype(np.float32) * arrays[f"{name}.scale"]
    small = small * np.reshape(factors[name], (-1, 1)).astype(np.float32)
    if f"{name}.fp32" in arrays:
        small[arrays[f"{first}.outliers"]] = arrays[f"{name}.fp32"]
    return small


def _unmarked(values: Floats, heads: int) -> Floats:
    """Queries or keys [..., heads * (size + 1)] without the last channel of each head."""
    apart = values.reshape(*values.shape[:-1], heads, -1)[..., :-1]
    return apart.reshape(*values.shape[:-1], -1)


def _first_row(arrays: Arrays, layer: int) -> list[tuple[Floats, Floats]]:
    """The same of the last layer, whose key and value are kept by head; its key needs no bias."""
    key, value = arrays[f"{layer}.key"], arrays[f"{layer}.value"]
    heads, size, width = key.shape
    root = np.float32(np.sqrt(size))
    query = arrays[f"{layer}.query"] * root, arrays[f"{layer}.query.bias"] * root
    keys = key.transpose(2, 0, 1).reshape(width, heads * size)
    values = value.transpose(1, 0, 2).reshape(width, heads * size)
    nothing = np.zeros(heads * size, np.float32)
    return [query, (keys, nothing), (values, arrays[f"{layer}.value.bias"])]


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE OUT."""
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)


def run(options: argparse.Namespace) -> int:
    """Write the checkpoint."""
    write(options.bundle, options.out)
    return 0


COMMAND = Script(__name__, arguments, run)
