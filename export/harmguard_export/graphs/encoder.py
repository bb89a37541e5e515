"""The graph of a BERT-like sequence classifier, written for CPUs; families are data (`families`).

What differs from a traced model, each exact in real arithmetic:
- queries, keys and values have a product each, and their input is quantised once: one product
  for all would have to be copied apart;
- MultiHeadAttention works through blocks of scores that stay in the processor's cache, which it
  does only without a mask. So each head has one channel more: 1 in the queries, and in the keys
  0 for tokens and ABSENT for padding;
- a key's bias adds the same number to every score of a query: softmax does not see it;
- the classifier reads the first token only, so the last layer is computed for that row only.
  Its keys and values are never made: q Wk^T is compared with the hidden states themselves, and
  the attention's mean of the hidden states goes through Wv.
- Add and LayerNormalization stay apart: together (SkipLayerNormalization) they take two to
  nine times as long on a CPU.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from harmguard_export.families import EncoderConfig, distance_buckets, embedding_tables
from harmguard_export.graphs.base import FamilyGraph
from harmguard_export.graphs.layers import activation, classifier, fp32, words
from harmguard_export.graphs.linears import Linear
from harmguard_export.graphs.writer import MICROSOFT
from harmguard_export.quantization.quantize import Floats

# Added to the scores of padding, before their scale: their share is exactly 0 in float32.
ABSENT = -1e9


class EncoderGraph(FamilyGraph[EncoderConfig]):
    """The graph of a `EncoderConfig`."""

    def _build(self) -> str:
        """The name of the logits [batch, 2]."""
        graph, config, family = self.graph, self.config, self.config.family
        hidden = self._embeddings()
        self._mask()
        self.bias = self._distances() if family.relative else ""
        for layer in range(config.layers):
            last = layer == config.layers - 1
            asking = self._first(hidden) if last else hidden
            mixed = self._first_attention(hidden, layer) if last else self._attention(hidden, layer)
            hidden = self._feed_forward(self._attention_output(mixed, asking, layer), layer)
        if family.final_norm:
            hidden = self._norm(hidden, f"{family.prefix}.{family.final_norm}")
        rows = graph.node("Squeeze", [hidden, graph.constant([1])])
        pooled = fp32(graph, rows, *self._linear(family.dense), "pooler")
        pooled = activation(graph, pooled, family.head_activation)
        return classifier(graph, pooled, self.weights, family.classifier)

    # Weights

    def _layer(self, layer: int, part: str) -> tuple[Floats, Floats]:
        family = self.config.family
        return self._linear(f"{family.stack}.{layer}.{getattr(family, part)}")

    def _layer_norm(self, x: str, layer: int, part: str, factors: Floats | None = None) -> str:
        family = self.config.family
        return self._norm(x, f"{family.stack}.{layer}.{getattr(family, part)}", factors)

    # Embeddings, and what all layers share

    def _embeddings(self) -> str:
        node, graph, family = self.graph.node, self.graph, self.config.family
        typed = "token_type_ids" in self.inputs
        table, positions, types = embedding_tables(self.config, self.weights, typed)
        rows = words(graph, table, self.recipe.embeddings == "int8")
        places = self._places(graph.weight("positions", positions))
        if types is not None:
            kinds = node("Gather", [graph.weight("types", types), "token_type_ids"])
            places = node("Add", [kinds, places])
        hidden = str(node("Add", [rows, places]))
        if family.embeddings_norm:
            hidden = self._norm(hidden, f"{family.prefix}.{family.embeddings_norm}")
        if self.config.embedding != self.config.width:
            projection = self._linear(f"{family.prefix}.embeddings_project")
            hidden = fp32(graph, hidden, *projection, "embeddings_project")
        return hidden

    def _places(self, table: str) -> str:
        """The rows of the table of positions, for all texts or for each."""
        node, constant = self.graph.node, self.graph.constant
        if not self.config.family.counted:
            length = node("Shape", ["input_ids"], start=1, end=2)
            return str(node("Slice", [table, constant([0]), length, constant([0])]))
        padding = constant(self.config.padding)
        present = node("Not", [node("Equal", ["input_ids", padding])])
        present = node("Cast", [present], to=TensorProto.INT64)
        counts = node("Mul", [node("CumSum", [present, constant(1)]), present])
        return str(node("Gather", [table, node("Add", [counts, padding])]))

    def _mask(self) -> None:
        """What is added to the keys, and to the first token's scores."""
        node, constant, config = self.graph.node, self.graph.constant, self.config
        present = node("Cast", ["attention_mask"], to=TensorProto.BOOL)
        ends = constant(0, np.float32), constant(ABSENT, np.float32)
        absent = node("Where", [present, *ends])
        self.absent = node("Unsqueeze", [absent, constant([1])])
        if config.layers > 1:
            marks = np.zeros((config.heads, config.head + 1), np.float32)
            marks[:, -1] = 1
            columns = node("Unsqueeze", [absent, constant([2])])
            marked = [columns, self.graph.weight("marks", marks.reshape(-1))]
            self.absent_keys = node("Mul", marked)

    def _distances(self) -> str:
        """The bias of the scores [1, heads, length, length], from one row per distance."""
        node, constant, graph = self.graph.node, self.graph.constant, self.graph
        longest, family = self.config.longest, self.config.family
        table = self.weights[f"{family.prefix}.{family.relative}"]
        rows = np.ascontiguousarray(table[distance_buckets(longest)].T)
        length = node("Squeeze", [node("Shape", ["input_ids"], start=1, end=2)])
        places = node("Range", [constant(0), length, constant(1)])
        keys, queries = (node("Unsqueeze", [places, constant([axis])]) for axis in (0, 1))
        distance = node("Add", [node("Sub", [keys, queries]), constant(longest - 1)])
        self.first_bias = node(
            "Gather", [graph.weight("distances", rows), node("Add", [keys, constant(longest - 1)])],
            axis=1,
        )  # fmt: skip
        found = node("Gather", [graph.weight("distances", rows), distance], axis=1)
        return str(node("Unsqueeze", [found, constant([0])]))

    def _first(self, hidden: str) -> str:
        """The first token's row of every text [batch, 1, width]."""
        return str(self.graph.node("Slice", [hidden, *map(self.graph.constant, ([0], [1], [1]))]))

    # Layers

    def _output(self, layer: int) -> tuple[Floats, Floats, Floats | None]:
        """The attention's output layer: weight, bias, and what the values are multiplied by."""
        weight, bias = self._layer(layer, "o")
        return weight, bias, self.linears.fold(f"{layer}.o", weight)

    def _values(self, layer: int) -> tuple[Floats, Floats]:
        """The values' layer; they leave multiplied as the output layer needs them."""
        weight, bias = self._layer(layer, "value")
        factors = self._output(layer)[2]
        return (weight, bias) if factors is None else (weight * factors, bias * factors)

    def _attention(self, hidden: str, layer: int) -> str:
        """The heads' outputs [batch, length, width] before their linear layer."""
        node, config, name = self.graph.node, self.config, f"{layer}.qkv"
        key, _ = marked_heads(self._layer(layer, "key"), config.heads, 0)
        query = marked_heads(self._layer(layer, "query"), config.heads, 1)
        parts: list[Linear] = [query, (key, None), self._values(layer)]
        factors = None
        if config.family.pre_norm:
            factors = self.linears.fold(name, np.concatenate([part for part, _ in parts], 1))
            hidden = self._layer_norm(hidden, layer, "attention_norm", factors)
        labels = [f"{layer}.{part}" for part in ("query", "key", "value")]
        queries, keys, values = self.linears.add_parts(
            hidden, name, parts, labels=labels, folded=factors is not None
        )
        keys = node("Add", [keys, self.absent_keys])
        inputs = [queries, keys, values, *(["", "", self.bias] if self.bias else [])]
        heads, scale = config.heads, 1 / math.sqrt(config.head)
        name = "MultiHeadAttention"
        return str(node(name, inputs, domain=MICROSOFT, num_heads=heads, scale=scale))

    def _first_attention(self, hidden: str, layer: int) -> str:
        """The attention of the first token only [batch, 1, width]."""
        node, constant, config = self.graph.node, self.graph.constant, self.config
        if config.family.pre_norm:
            hidden = self._layer_norm(hidden, layer, "attention_norm")
        (wq, bq), (wk, _) = (self._layer(layer, part) for part in ("query", "key"))
        wv, bv = self._values(layer)
        heads, size, width = config.heads, config.head, config.width
        scale = 1 / math.sqrt(size)
        query = fp32(self.graph, self._first(hidden), wq * scale, bq * scale, f"{layer}.query")
        query = node("Reshape", [query, constant([0, heads, 1, size])])
        keys = wk.reshape(width, heads, size).transpose(1, 2, 0)
        query = node("MatMul", [query, self.graph.weight(f"{layer}.key", keys)])
        query = node("Reshape", [query, constant([0, heads, width])])
        scores = node("FusedMatMul", [query, hidden], domain=MICROSOFT, transB=1)
        if config.family.relative:
            bias = node("Squeeze", [self.first_bias, constant([1])])
            scores = node("Add", [scores, bias])
        shares = node("Softmax", [node("Add", [scores, self.absent])], axis=-1)
        mean = node("MatMul", [shares, hidden])
        mean = node("Reshape", [mean, constant([0, heads, 1, width])])
        values = wv.reshape(width, heads, size).transpose(1, 0, 2)
        mixed = node("MatMul", [mean, self.graph.weight(f"{layer}.value", values)])
        mixed = node("Reshape", [mixed, constant([0, 1, width])])
        return str(node("Add", [mixed, self.graph.weight(f"{layer}.value.bias", bv)]))

    def _attention_output(self, mixed: str, asking: str, layer: int) -> str:
        """The attention's part of a layer; `asking`: the rows that ask, as the layer got them."""
        weight, bias, factors = self._output(layer)
        name = f"{layer}.o"
        out = self.linears.add(mixed, name, (weight, bias), folded=factors is not None)
        out = str(self.graph.node("Add", [out, asking]))
        if self.config.family.pre_norm:
            return out
        return self._layer_norm(out, layer, "attention_norm")

    def _feed_forward(self, hidden: str, layer: int) -> str:
        up, down, config = f"{layer}.up", f"{layer}.down", self.config
        linear, read, factors = self._layer(layer, "up"), hidden, None
        if config.family.pre_norm:
            factors = self.linears.fold(up, linear[0])
            read = self._layer_norm(hidden, layer, "output_norm", factors)
        grown = self.linears.add(read, up, linear, folded=factors is not None)
        grown = activation(self.graph, grown, config.activation)
        out = self.linears.add(grown, down, self._layer(layer, "down"), positive=config.positive)
        out = str(self.graph.node("Add", [out, hidden]))
        return out if config.family.pre_norm else self._layer_norm(out, layer, "output_norm")


def marked_heads(linear: tuple[Floats, Floats], heads: int, mark: float) -> tuple[Floats, Floats]:
    """A linear layer of queries or keys with one channel more a head, of the constant `mark`."""
    weight, bias = linear
    weight = np.pad(weight.reshape(len(weight), heads, -1), ((0, 0), (0, 0), (0, 1)))
    bias = np.pad(bias.reshape(heads, -1), ((0, 0), (0, 1)), constant_values=mark)
    return weight.reshape(len(weight), -1), bias.reshape(-1)
