"""The graph of a DebertaV2ForSequenceClassification (v2 and v3), written for CPUs.

What differs from a traced model, each exact in real arithmetic:
- tokens lie in one axis [batch * length, width], so that linear layers are plain products;
- the scale of the attention scores is part of the query's weights and of the position tables;
- relative positions: see `deberta_positions.py`;
- the classifier reads the first token only, so the last layer makes one row only;
- padding is masked as a key only: what a padded row holds is never read;
- attention is computed for a few heads at a time, whose scores stay in the cache;
- Add and LayerNormalization stay apart, as in `encoder.py`.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from harmguard_export.deberta_config import DebertaConfig
from harmguard_export.graphs.base import FamilyGraph
from harmguard_export.graphs.deberta_positions import Positions
from harmguard_export.graphs.layers import activation, classifier, fp32, words
from harmguard_export.graphs.linears import Linear
from harmguard_export.graphs.writer import MICROSOFT
from harmguard_export.quantization.quantize import Floats

MODEL_TYPE = "deberta-v2"
# Added to the scores of padding: their share is exactly 0 in float32.
_ABSENT = -1e9
# Scores of a group of heads: some five arrays of this many float32 are in use at once.
_CACHED = 1 << 18


class DebertaGraph(FamilyGraph[DebertaConfig]):
    """The graph of a `DebertaConfig`; position tables are stored as the embeddings are."""

    def _build(self) -> str:
        """The name of the logits [batch, 2]."""
        graph, layers = self.graph, self.config.layers
        self.int8 = self.recipe.embeddings == "int8"
        self._shapes()
        self.positions = Positions(graph, self.config, self.weights, self.int8)
        hidden = embedded = self._embeddings()
        for layer in range(layers):
            if layer < layers - 1:
                mixed = self._attention(hidden, layer)
            else:
                first = self._first(hidden)
                mixed = self._first_attention(hidden, first, layer)
                hidden = first
            hidden = self._feed_forward(self._attention_output(mixed, hidden, layer), layer)
            if layer == 0 and self.config.conv is not None:
                hidden = self._convolution(embedded, hidden)
        pooled = fp32(graph, hidden, *self._linear("pooler.dense"), "pooler")
        pooled = activation(graph, pooled, self.config.pooler_activation)
        return classifier(graph, pooled, self.weights)

    def _shapes(self) -> None:
        node, constant, config = self.graph.node, self.graph.constant, self.config
        batch = node("Shape", ["input_ids"], start=0, end=1)
        length = node("Shape", ["input_ids"], start=1, end=2)
        heads = [batch, length, constant([-1]), constant([config.head])]
        self.to_heads = node("Concat", heads, axis=0)
        self.to_tokens = node("Concat", [batch, length, constant([config.width])], axis=0)
        present = node("Cast", ["attention_mask"], to=TensorProto.BOOL)
        ends = constant(0, np.float32), constant(_ABSENT, np.float32)
        absent = node("Where", [present, *ends])
        self.absent = node("Unsqueeze", [absent, constant([1, 2])])
        self.absent_keys = node("Unsqueeze", [absent, constant([0, 2])])
        self._groups(batch, length)

    def _groups(self, batch: str, length: str) -> None:
        """How many heads are worked on at once: as many as stay in the processor's cache."""
        node, constant, heads = self.graph.node, self.graph.constant, self.config.heads
        counts = [n for n in range(1, heads + 1) if heads % n == 0]
        scores = node("Mul", [node("Mul", [batch, length]), length])
        fit = node("LessOrEqual", [node("Mul", [constant(counts), scores]), constant([_CACHED])])
        fit = node("ReduceSum", [node("Cast", [fit], to=TensorProto.INT64)], keepdims=1)
        last = node("Max", [node("Sub", [fit, constant([1])]), constant([0])])
        some = node("Gather", [constant(counts), last])
        groups = node("Div", [constant([heads]), some])
        rest = [batch, length, constant([self.config.head])]
        self.grouped = node("Concat", [groups, some, *rest], axis=0)
        self.ungrouped = node("Concat", [constant([heads]), *rest], axis=0)
        one, width = constant([1]), constant([self.config.head])
        self.grouped_rows = node("Concat", [groups, some, one, constant([-1]), width], axis=0)
        self.grouped_scales = node("Concat", [groups, some, one, one, one], axis=0)

    def _layer(self, layer: int, part: str) -> tuple[Floats, Floats]:
        return self._linear(f"deberta.encoder.layer.{layer}.{part}")

    def _rows(self, x: str, width: int) -> str:
        """[batch, length, ...] as [batch * length, width]."""
        return str(self.graph.node("Reshape", [x, self.graph.constant([-1, width])]))

    def _tokens(self, x: str) -> str:
        """[batch * length, width] as [batch, length, width]."""
        return str(self.graph.node("Reshape", [x, self.to_tokens]))

    def _first(self, x: str) -> str:
        """The first token's row of every text [batch, width]."""
        return str(self.graph.node("Gather", [self._tokens(x), self.graph.constant(0)], axis=1))

    def _embeddings(self) -> str:
        graph, config = self.graph, self.config
        node, name = graph.node, "deberta.embeddings"
        x = words(graph, self.weights[f"{name}.word_embeddings.weight"], self.int8)
        types = self.weights[f"{name}.token_type_embeddings.weight"] if config.types else None
        if config.absolute:
            table = self.weights[f"{name}.position_embeddings.weight"]
            length = node("Shape", ["input_ids"], start=1, end=2)
            places = [graph.weight("positions", table), graph.constant([0]), length]
            x = node("Add", [x, node("Slice", [*places, graph.constant([0])])])
        if types is not None and "token_type_ids" in self.inputs:
            x = node("Add", [x, node("Gather", [graph.weight("types", types), "token_type_ids"])])
        elif types is not None:
            x = node("Add", [x, graph.weight("types", types[0])])
        x = self._rows(x, config.embedding)
        if config.embedding != config.width:
            x = fp32(graph, x, self.weights[f"{name}.embed_proj.weight"].T, None, "embed_proj")
        return self._norm(x, "deberta.embeddings.LayerNorm")

    def _projections(self, layer: int, *parts: str) -> Linear:
        """Query, scaled as the attention scores are, key and value, side by side.

        Values leave multiplied as the attention's output layer needs them.
        """
        found = [self._layer(layer, f"attention.self.{part}_proj") for part in parts]
        factors = self._output(layer)[1]
        values = np.float32(1) if factors is None else factors
        each = {"query": np.float32(self.config.scale), "value": values}
        scales = [each.get(part, np.float32(1)) for part in parts]
        weight = np.concatenate([w * s for (w, _), s in zip(found, scales, strict=True)], 1)
        return weight, np.concatenate([b * s for (_, b), s in zip(found, scales, strict=True)])

    def _output(self, layer: int) -> tuple[Linear, Floats | None]:
        """The attention's output layer, and what the values are multiplied by."""
        linear = self._layer(layer, "attention.output.dense")
        return linear, self.linears.fold(f"{layer}.o", linear[0])

    def _heads(self, x: str) -> str:
        """[batch * length, n * width] as [batch, n * heads, length, width of a head]."""
        split = self.graph.node("Reshape", [x, self.to_heads])
        return str(self.graph.node("Transpose", [split], perm=[0, 2, 1, 3]))

    def _attention(self, hidden: str, layer: int) -> str:
        """The heads' outputs [batch * length, width] before their linear layer."""
        node = self.graph.node
        linear = self._projections(layer, "query", "key", "value")
        three = self.linears.add(hidden, f"{layer}.qkv", linear)
        three = node("Transpose", [node("Reshape", [three, self.to_heads])], perm=[2, 0, 1, 3])
        parts = node("Split", [three], outputs=3, axis=0, num_outputs=3)
        slices = {node("Reshape", [part, self.grouped]): TensorProto.FLOAT for part in parts}
        rows = self.positions.rows(layer)
        for picked, scale in rows.values():
            slices[node("Reshape", [picked, self.grouped_rows])] = (
                TensorProto.FLOAT if scale is None else TensorProto.INT8
            )
            if scale is not None:
                slices[node("Reshape", [scale, self.grouped_scales])] = TensorProto.FLOAT

        def turn(given: list[str]) -> str:
            query, key, value, *held = given
            scores = node("FusedMatMul", [query, key], domain=MICROSOFT, transB=1)
            for term, (_, scale) in rows.items():
                table, held = held[0], held[1:]
                if scale is not None:
                    scale, held = held[0], held[1:]
                found = self.positions.term(term, query, key, table, scale)
                scores = node("Add", [scores, found])
            shares = node("Softmax", [node("Add", [scores, self.absent_keys])], axis=-1)
            return str(node("MatMul", [shares, value]))

        mixed = self.graph.scan(slices, turn, TensorProto.FLOAT)
        mixed = node("Reshape", [mixed, self.ungrouped])
        mixed = node("Transpose", [mixed], perm=[1, 2, 0, 3])
        return self._rows(mixed, self.config.width)

    def _mix(self, scores: str, value: str) -> str:
        """Means of the values [batch * queries, width] by the scores' softmax."""
        node = self.graph.node
        shares = node("Softmax", [node("Add", [scores, self.absent])], axis=-1)
        mixed = node("Transpose", [node("MatMul", [shares, value])], perm=[0, 2, 1, 3])
        return self._rows(mixed, self.config.width)

    def _first_attention(self, hidden: str, first: str, layer: int) -> str:
        """The attention of the first token only [batch, width]."""
        node, constant, config = self.graph.node, self.graph.constant, self.config
        name, asked = f"{layer}.qkv", self._projections(layer, "query")
        query = self.linears.add(first, name, asked, label=f"{layer}.query")
        both = self.linears.add(hidden, name, self._projections(layer, "key", "value"))
        key, value = node("Split", [self._heads(both)], outputs=2, axis=1, num_outputs=2)
        query = node("Reshape", [query, constant([-1, config.heads, 1, config.head])])
        scores = node("FusedMatMul", [query, key], domain=MICROSOFT, transB=1)
        for term in self.positions.first_terms(query, key, layer):
            scores = node("Add", [scores, term])
        return self._mix(scores, value)

    def _attention_output(self, mixed: str, hidden: str, layer: int) -> str:
        name = f"{layer}.o"
        linear, factors = self._output(layer)
        out = self.linears.add(mixed, name, linear, folded=factors is not None)
        added = self.graph.node("Add", [out, hidden])
        return self._norm(added, f"deberta.encoder.layer.{layer}.attention.output.LayerNorm")

    def _feed_forward(self, hidden: str, layer: int) -> str:
        up, down = f"{layer}.up", f"{layer}.down"
        grown = self.linears.add(hidden, up, self._layer(layer, "intermediate.dense"))
        grown = activation(self.graph, grown, self.config.activation)
        linear = self._layer(layer, "output.dense")
        out = self.linears.add(grown, down, linear, positive=self.config.positive)
        added = self.graph.node("Add", [out, hidden])
        return self._norm(added, f"deberta.encoder.layer.{layer}.output.LayerNorm")

    def _convolution(self, embedded: str, hidden: str) -> str:
        """The first layer's output with a convolution of the embeddings added."""
        assert self.config.conv is not None
        graph, node, conv = self.graph, self.graph.node, self.config.conv
        # Padding must not reach its neighbours.
        present = node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
        present = node("Unsqueeze", [present, graph.constant([2])])
        x = node("Transpose", [node("Mul", [self._tokens(embedded), present])], perm=[0, 2, 1])
        names = [f"deberta.encoder.conv.conv.{part}" for part in ("weight", "bias")]
        held = [graph.weight(name, self.weights[name]) for name in names]
        beside = conv.kernel // 2
        x = node("Conv", [x, *held], group=conv.groups, pads=[beside, beside])
        x = self._rows(node("Transpose", [x], perm=[0, 2, 1]), self.config.width)
        x = activation(graph, x, conv.activation)
        # With one layer only the first row is left.
        if self.config.layers == 1:
            x = self._first(x)
        return self._norm(node("Add", [x, hidden]), "deberta.encoder.conv.LayerNorm")
