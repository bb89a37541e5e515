"""The graph of a ModernBertForSequenceClassification, written for CPUs.

What differs from a traced model, each exact in real arithmetic:
- local layers compare a block of queries with the keys within reach of the block only, so that
  their memory and time grow with a text's length, not with its square;
- padding is masked by a channel of each head, as `encoder.py` does, which lets
  MultiHeadAttention go through blocks of scores that stay in the cache in global layers;
- a norm before a layer does the layer's division for 8 bits;
- where the classifier reads the first token only, the last layer is computed for that row only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from harmguard.errors import UnsupportedModelError
from harmguard_export.deberta_config import ACTIVATIONS, EncoderShape
from harmguard_export.graphs.base import FamilyGraph
from harmguard_export.graphs.encoder import ABSENT, marked_heads
from harmguard_export.graphs.layers import activation, classifier, fp32, words
from harmguard_export.graphs.linears import Linear
from harmguard_export.graphs.writer import MICROSOFT
from harmguard_export.quantization.quantize import Floats

MODEL_TYPE = "modernbert"


@dataclass(frozen=True)
class ModernBertConfig(EncoderShape):
    """The fields that change the function, under names of our own."""

    head_activation: str
    every: int
    """The layers 0, `every`, 2 * `every`, ... are global."""
    reach: int
    """The largest distance of a key in a local layer."""
    bases: tuple[float, float]
    """Of the rotations' wavelengths, in global and in local layers."""
    mean: bool
    """The classifier reads the mean of all tokens, not the first one."""

    @property
    def positive(self) -> bool:
        """The feed-forward's second layer reads products, of any sign."""
        return False

    def is_global(self, layer: int) -> bool:
        """Whether every token of a layer sees all others."""
        return layer % self.every == 0


def read_modernbert(config: Any) -> ModernBertConfig:
    """Check a transformers config; UnsupportedModelError names the field that is at fault."""

    def check(field: str, right: bool, expected: str) -> None:
        if not right:
            raise UnsupportedModelError(
                f"config.json: {field} is {getattr(config, field, None)!r}; expected {expected}; "
                "likely a variant of ModernBERT that is exported by optimum alone, in fp32"
            )

    width, heads = config.hidden_size, config.num_attention_heads
    check("num_hidden_layers", config.num_hidden_layers > 0, "1 or more")
    check("num_attention_heads", width % (2 * heads) == 0, f"a divisor of {width} by an even width")
    for field in ("hidden_activation", "classifier_activation"):
        names = ", ".join(ACTIVATIONS)
        check(field, getattr(config, field) in ACTIVATIONS, f"one of {names}")
    check("classifier_pooling", config.classifier_pooling in ("cls", "mean"), "cls or mean")
    check("rope_scaling", getattr(config, "rope_scaling", None) is None, "null")
    check("global_attn_every_n_layers", config.global_attn_every_n_layers > 0, "1 or more")
    check("local_attention", config.local_attention >= 2, "2 or more")
    local = config.local_rope_theta
    return ModernBertConfig(
        layers=config.num_hidden_layers,
        heads=heads,
        width=width,
        epsilon=config.norm_eps,
        activation=config.hidden_activation,
        head_activation=config.classifier_activation,
        every=config.global_attn_every_n_layers,
        reach=config.local_attention // 2,
        bases=(config.global_rope_theta, config.global_rope_theta if local is None else local),
        mean=config.classifier_pooling == "mean",
    )


class ModernBertGraph(FamilyGraph[ModernBertConfig]):
    """The graph of a `ModernBertConfig`."""

    def _build(self) -> str:
        """The name of the logits [batch, 2]."""
        graph, config, node = self.graph, self.config, self.graph.node
        self._shapes()
        table = self.weights["model.embeddings.tok_embeddings.weight"]
        hidden = words(graph, table, self.recipe.embeddings == "int8")
        hidden = self._norm(hidden, "model.embeddings.norm")
        for layer in range(config.layers):
            first = layer == config.layers - 1 and not config.mean
            hidden = self._feed_forward(self._attention(hidden, layer, first), layer)
        hidden = self._norm(hidden, "model.final_norm")
        if config.mean:
            present = node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
            shares = node("ReduceSum", [present, graph.constant([1])], keepdims=1)
            shares = node("Unsqueeze", [node("Div", [present, shares]), graph.constant([1])])
            hidden = node("MatMul", [shares, hidden])
        rows = node("Squeeze", [hidden, graph.constant([1])])
        pooled = activation(graph, fp32(graph, rows, *self._linear("head.dense"), "head"),
                            config.head_activation)  # fmt: skip
        return classifier(graph, self._norm(pooled, "head.norm"), self.weights)

    # What all layers share

    def _shapes(self) -> None:
        node, constant, config = self.graph.node, self.graph.constant, self.config
        present = node("Cast", ["attention_mask"], to=TensorProto.BOOL)
        self.ends = constant(0, np.float32), constant(ABSENT, np.float32)
        self.absent = node("Where", [present, *self.ends])
        length = node("Shape", ["input_ids"], start=1, end=2)
        self.length = length
        places = node("Range", [constant(0), node("Squeeze", [length]), constant(1)])
        self.places = node(
            "Unsqueeze", [node("Cast", [places], to=TensorProto.FLOAT), constant([1])]
        )
        self.turns: dict[bool, tuple[str, str]] = {}
        marks = np.zeros((config.heads, config.head + 1), np.float32)
        marks[:, -1] = 1
        columns = node("Unsqueeze", [self.absent, constant([2])])
        self.marks = self.graph.weight("marks", marks.reshape(-1))
        self.absent_keys = node("Mul", [columns, self.marks])
        if any(not config.is_global(layer) for layer in range(config.layers)):
            self._blocks()

    def _rotated(self, x: str, layer: int) -> str:
        """Queries or keys [batch, length, width], turned by their places."""
        node, config = self.graph.node, self.config
        whole = config.is_global(layer)
        if whole not in self.turns:
            half = np.arange(0, config.head, 2, dtype=np.float32) / np.float32(config.head)
            rates = (1.0 / (np.float32(config.bases[0 if whole else 1]) ** half)).astype(np.float32)
            rates_name = self.graph.weight(f"rates.{'global' if whole else 'local'}", rates[None])
            angles = node("Mul", [self.places, rates_name])
            self.turns[whole] = node("Cos", [angles]), node("Sin", [angles])
        inputs = [x, self.graph.constant([0]), *self.turns[whole]]
        sizes = {"num_heads": config.heads, "rotary_embedding_dim": config.head}
        return str(node("RotaryEmbedding", inputs, domain=MICROSOFT, **sizes))

    def _blocks(self) -> None:
        """Shapes of local layers' blocks, and the mask of a block's queries and keys.

        A text of at most twice the reach is one block, whose keys are the text. A longer one has
        blocks of twice the reach, whose keys begin and end one reach beside the block's.
        """
        node, constant, reach = self.graph.node, self.graph.constant, self.config.reach
        size = node("Min", [self.length, constant([2 * reach])])
        count = node("Div", [node("Sub", [node("Add", [self.length, size]), constant([1])]), size])
        several = node("Cast", [node("Greater", [count, constant([1])])], to=TensorProto.INT64)
        before = node("Mul", [constant([reach]), several])
        whole = node("Mul", [count, size])
        after = node("Sub", [whole, self.length])
        # Keys fill one block more, of which half a block lies before the first.
        behind = node("Sub", [node("Add", [after, size]), before])
        self.query_pads = node("Concat", [constant([0]), after], axis=0)
        self.key_pads = node("Concat", [before, behind], axis=0)
        self.size, self.count, self.beside = size, count, node("Mul", [size, several])
        keys = node("Add", [size, self.beside])
        one = constant(1)
        asking = node("Range", [constant(0), node("Squeeze", [size]), one])
        asked = node("Sub", [node("Range", [constant(0), node("Squeeze", [keys]), one]), before])
        asking, asked = (
            node("Unsqueeze", [x, constant([a])]) for x, a in ((asking, 1), (asked, 0))
        )
        apart = node("Abs", [node("Sub", [asked, asking])])
        near = node("LessOrEqual", [apart, constant(reach)])
        # One for all texts and blocks: onnxruntime 1.20 reads one per text at wrong places.
        apart = node("Where", [near, *self.ends])
        self.local_bias = node("Unsqueeze", [apart, constant([0, 1])])
        # What Pad adds is absent as padding is.
        absent = node("Pad", [self.absent, self.key_pads, self.ends[1], constant([1])])
        columns = node("Unsqueeze", [absent, constant([2])])
        self.absent_locally = node("Mul", [columns, self.marks])

    def _windows(self, blocks: str) -> str:
        """Of blocks [batch, count + 1, size, ...] each, and as much of the next as is beside it."""
        node, constant = self.graph.node, self.graph.constant
        own = node("Slice", [blocks, constant([0]), self.count, constant([1])])
        ends = node("Add", [self.count, constant([1])])
        following = node("Slice", [blocks, constant([1]), ends, constant([1])])
        following = node("Slice", [following, constant([0]), self.beside, constant([2])])
        return str(node("Concat", [own, following], axis=2))

    # Layers

    def _attention(self, hidden: str, layer: int, first: bool) -> str:
        """A layer's first half; of the first token alone where `first`."""
        node, config, name = self.graph.node, self.config, f"{layer}.qkv"
        whole, path = config.is_global(layer), f"model.layers.{layer}"
        out_weight, out_bias = self._linear(f"{path}.attn.Wo")
        values_by = self.linears.fold(f"{layer}.o", out_weight)
        parts = self._parts(layer, values_by)
        read, factors = hidden, None
        if layer:
            factors = self.linears.fold(name, np.concatenate([part for part, _ in parts], 1))
            read = self._norm(hidden, f"{path}.attn_norm", factors)
        labels = [f"{layer}.{part}" for part in ("query", "key", "value")]
        if first:
            # The first token's place is 0: its query is not turned.
            weight, bias = parts[0]
            row = self._first(read)
            both = self.linears.add_parts(
                read, name, parts[1:], labels=labels[1:], folded=factors is not None
            )
            query = self.linears.add(
                row, name, (weight, bias), label=labels[0], folded=factors is not None
            )
            key, value = self._rotated(both[0], layer), both[1]
            key = node("Add", [key, self.absent_keys])
            if not whole:
                end = self.graph.constant([config.reach + 1])
                zero, one = self.graph.constant([0]), self.graph.constant([1])
                key, value = (node("Slice", [x, zero, end, one]) for x in (key, value))
            hidden = self._first(hidden)
            mixed = self._mixed(query, key, value)
        else:
            query, key, value = self.linears.add_parts(
                read, name, parts, labels=labels, folded=factors is not None
            )
            query, key = (self._rotated(x, layer) for x in (query, key))
            if whole:
                mixed = self._mixed(query, node("Add", [key, self.absent_keys]), value)
            else:
                mixed = self._local(query, key, value)
        linear = (out_weight, out_bias)
        out = self.linears.add(mixed, f"{layer}.o", linear, folded=values_by is not None)
        return str(node("Add", [out, hidden]))

    def _parts(self, layer: int, values_by: Floats | None) -> list[Linear]:
        """Query and key, with the channel that masks padding, and value."""
        weight, bias = self._linear(f"model.layers.{layer}.attn.Wqkv")
        plain = bias is None
        zeros = np.zeros(weight.shape[1], np.float32) if bias is None else bias
        query, key, value = zip(np.split(weight, 3, 1), np.split(zeros, 3), strict=True)
        query, key = (
            marked_heads(linear, self.config.heads, mark) for linear, mark in ((query, 1), (key, 0))
        )
        if values_by is not None:
            value = value[0] * values_by, value[1] * values_by
        return [query, *((w, None if plain else b) for w, b in (key, value))]

    def _first(self, x: str) -> str:
        """The first token's row of every text [batch, 1, width]."""
        return str(self.graph.node("Slice", [x, *map(self.graph.constant, ([0], [1], [1]))]))

    def _mixed(self, query: str, key: str, value: str, bias: str = "") -> str:
        """The heads' outputs [batch, length, width]."""
        inputs = [query, key, value, *(["", "", bias] if bias else [])]
        heads, scale = self.config.heads, 1 / math.sqrt(self.config.head)
        operator = "MultiHeadAttention"
        return str(
            self.graph.node(operator, inputs, domain=MICROSOFT, num_heads=heads, scale=scale)
        )

    def _local(self, query: str, key: str, value: str) -> str:
        """The same of a local layer, block by block."""
        node, constant, config = self.graph.node, self.graph.constant, self.config
        axis = constant([1])
        marked = config.width + config.heads
        shape = node("Concat", [constant([-1]), self.size, constant([marked])], axis=0)
        query = node("Reshape", [node("Pad", [query, self.query_pads, "", axis]), shape])
        key = node("Add", [node("Pad", [key, self.key_pads, "", axis]), self.absent_locally])
        value = node("Pad", [value, self.key_pads, "", axis])
        windows = []
        blocks = node("Add", [self.count, constant([1])])
        for x, width in ((key, marked), (value, config.width)):
            shape = node("Concat", [constant([0]), blocks, self.size, constant([width])], axis=0)
            found = self._windows(node("Reshape", [x, shape]))
            sizes = node("Shape", [found], start=2)
            shape = node("Concat", [constant([-1]), sizes], axis=0)
            windows.append(node("Reshape", [found, shape]))
        mixed = self._mixed(query, windows[0], windows[1], self.local_bias)
        batch = node("Shape", ["input_ids"], start=0, end=1)
        shape = node("Concat", [batch, constant([-1, self.config.width])], axis=0)
        mixed = node("Reshape", [mixed, shape])
        return str(node("Slice", [mixed, constant([0]), self.length, axis]))

    def _feed_forward(self, hidden: str, layer: int) -> str:
        node, up, path = self.graph.node, f"{layer}.up", f"model.layers.{layer}"
        weight, bias = self._linear(f"{path}.mlp.Wi")
        halves = np.split(weight, 2, 1)
        biases = [None, None] if bias is None else np.split(bias, 2)
        parts: list[Linear] = list(zip(halves, biases, strict=True))
        factors = self.linears.fold(up, weight)
        read = self._norm(hidden, f"{path}.mlp_norm", factors)
        labels = [up, f"{layer}.gate"]
        grown, gate = self.linears.add_parts(
            read, up, parts, labels=labels, folded=factors is not None
        )
        grown = node("Mul", [activation(self.graph, grown, self.config.activation), gate])
        out = self.linears.add(grown, f"{layer}.down", self._linear(f"{path}.mlp.Wo"))
        return str(node("Add", [out, hidden]))
