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

    arrays, reaches, heads = read(bundle / "model.onnx")
    try:
        state = weights(arrays, reaches)
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


def read(model: Path) -> tuple[Arrays, dict[str, float], int]:
    """Weights by name, the real size of one step of each `N.down` input, and the heads."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(model)).graph
    arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    writers = {node.output[0]: node for node in graph.node}
    reaches, heads = {}, 1
    for node in graph.node:
        if node.op_type == "QAttention":
            heads = next(a.i for a in node.attribute if a.name == "num_heads")
        if node.op_type == "MatMulIntegerToFloat" and node.input[1].endswith(".down"):
            # The input is divided by a reach on its way to 8 bits, and its weight multiplied by it.
            real = arrays[writers[node.input[0]].input[1]]
            reaches[node.input[1]] = float(real) / float(arrays[node.input[2]])
    return arrays, reaches, heads


def weights(arrays: Arrays, reaches: dict[str, float]) -> Arrays:
    """The state of a BertForSequenceClassification; KeyError names a weight that is not there.

    What a channel is divided by before it is rounded goes back into the weights. The values' own
    division stays, with the output layer that undoes it.
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
        parts = _first_row(arrays, layer) if layer == last else _attention(arrays, layer)
        for name, (weight, bias) in zip(("query", "key", "value"), parts, strict=True):
            _linear(state, f"{prefix}.attention.self.{name}", weight, bias)
        output = _int8(arrays, f"{layer}.o"), arrays[f"{layer}.o.bias"]
        _linear(state, f"{prefix}.attention.output.dense", *output)
        up = _int8(arrays, f"{layer}.up") * arrays[f"{layer}.up.divide"][:, None]
        _linear(state, f"{prefix}.intermediate.dense", up, arrays[f"{layer}.up.bias"])
        down = _int8(arrays, f"{layer}.down") / reaches[f"{layer}.down"]
        outliers = arrays.get(f"{layer}.down.outliers")
        if outliers is not None:
            down[: len(outliers)] += outliers
        _linear(state, f"{prefix}.output.dense", down, arrays[f"{layer}.down.bias"])
    _linear(state, "bert.pooler.dense", arrays["pooler"], arrays["pooler.bias"])
    _linear(state, "classifier", arrays["classifier"], arrays["classifier.bias"])
    return state


def _linear(state: Arrays, name: str, weight: Floats, bias: Floats) -> None:
    state[f"{name}.weight"], state[f"{name}.bias"] = np.ascontiguousarray(weight.T), bias


def _int8(arrays: Arrays, name: str) -> Floats:
    small: Floats = arrays[name].astype(np.float32) * arrays[f"{name}.scale"]
    return small


def _attention(arrays: Arrays, layer: int) -> list[tuple[Floats, Floats]]:
    """Query, key and value [in, out], each with its bias."""
    name = f"{layer}.qkv"
    whole = _int8(arrays, name) * arrays[f"{name}.divide"][:, None]
    pairs = zip(np.split(whole, 3, axis=1), np.split(arrays[f"{name}.bias"], 3), strict=True)
    return list(pairs)


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
