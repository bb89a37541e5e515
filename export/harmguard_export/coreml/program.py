"""The Core ML program of a BERT-like or DeBERTa classifier, written with the MIL builder.

Nothing is traced: like the ONNX graphs this is a program of our own, of the same function.
- Hidden states are [1, width, 1, length], the layout that Apple documents for the Neural Engine:
  linear layers are 1x1 convolutions, attention is products of [heads, length, length], and no
  layer transposes anything but DeBERTa's term of the keys.
- Relative positions are read without an index per pair of tokens: see `deberta_positions.py`.
- The last layer is computed for the first token only.
- Everything is fp16. Padding is masked by adding ABSENT, which fp16 can hold.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import get_new_symbol, types
from coremltools.converters.mil.mil.types.type_int import np_int4_dtype, np_uint4_dtype

from harmguard.errors import HarmGuardError, ProgramError
from harmguard_export.coreml.compress import Packed, identifier
from harmguard_export.coreml.weights import ModelWeights
from harmguard_export.quantization.quantize import Floats

# fp16 ends at 65504: the smallest float32 would become -inf, and 0 * -inf is nan.
ABSENT = -1e4

# A channel is an outlier from so many times the median on: it alone costs what 400 others do.
OUTLIER = 21.0

Pack = Callable[[str, Any], Packed]
"""A weight's name and its values [rows, columns] -> how it is stored."""


@dataclass
class ProgramBuilder:
    """Builds the program of `model` for windows of at most `longest` tokens."""

    model: ModelWeights
    longest: int
    target: str
    pack: Pack
    sizes: Mapping[str, Floats] = field(default_factory=dict)
    """RMS of each channel that a layer reads over their median, by "0.qkv", "0.up" and so on."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Afterwards: how each weight is stored."""

    def build(self) -> Any:
        """The MIL program: int32 inputs [1, length], output "logits" [1, 2] in float32."""
        mb.name_count.clear()  # it counts on from the last program that was not converted
        length = get_new_symbol()
        specs = [mb.TensorSpec((1, length), types.int32) for _ in self.model.inputs]
        opset = getattr(ct.target, self.target)

        # The builder takes the inputs' names from the arguments.
        if len(self.model.inputs) == 3:

            @mb.program(input_specs=specs, opset_version=opset)  # type: ignore[untyped-decorator]
            def program(input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
                return self._logits(input_ids, attention_mask, token_type_ids)
        else:

            @mb.program(input_specs=specs, opset_version=opset)  # type: ignore[untyped-decorator]
            def program(input_ids: Any, attention_mask: Any) -> Any:
                return self._logits(input_ids, attention_mask, None)

        return program

    def _logits(self, ids: Any, mask: Any, kinds: Any) -> Any:
        config = self.model.config
        self.length = mb.slice_by_index(x=mb.shape(x=ids), begin=[1], end=[2])
        present = mb.expand_dims(x=mb.cast(x=mask, dtype="fp16"), axes=[1, 2])
        missing = mb.sub(x=np.float16(1), y=present)
        self.absent = mb.mul(x=missing, y=np.float16(ABSENT))
        self.bias = self.first_bias = None
        if config.positions or self.model.family.relative:
            self._prepare_positions()
        if self.model.family.relative:
            self._prepare_bias()
        hidden = embedded = self._embeddings(ids, kinds)
        for layer in range(config.layers):
            hidden = self._layer(hidden, layer, layer == config.layers - 1)
            if layer == 0 and config.conv is not None:
                hidden = self._convolution(embedded, present, hidden)
        if self.model.family.final_norm:
            hidden = self._norm(hidden, self.model.norm(self.model.family.final_norm))
        pooled = self._linear(hidden, "pooler", self.model.pooler)
        pooled = activation(pooled, config.pooler_activation)
        out = self._linear(pooled, "classifier", self.model.classifier)
        return mb.cast(x=mb.reshape(x=out, shape=[1, 2]), dtype="fp32", name="logits")

    # Weights

    def _weight(self, name: str, weight: Any, lead: tuple[int, ...], trail: int) -> Any:
        """A stored weight [rows, columns] as [*lead, columns, 1, ...]: `trail` ones at the end."""
        packed = self.pack(name, weight)
        self.kinds[name] = packed.kind
        name = identifier(name)
        columns, ones = weight.shape[1], (1,) * trail
        data = packed.data.reshape(*lead, columns, *ones)
        if packed.kind == "fp16":
            return mb.const(val=data, name=name)
        if self.target == "iOS17":
            return self._old_constexpr(packed, data, lead, name)
        if packed.kind == "palette4":
            groups = (*lead[:-1], lead[-1] * len(packed.table) // len(weight))
            table = packed.table.reshape(*groups, 1, *ones, -1, 1)
            indices = data.astype(np_uint4_dtype)
            return mb.constexpr_lut_to_dense(indices=indices, lut=table, name=name)
        if packed.kind == "int4":
            data = data.astype(np_int4_dtype)
        scale = packed.table.reshape(*lead, -1, *ones)
        return mb.constexpr_blockwise_shift_scale(data=data, scale=scale, name=name)

    def _old_constexpr(self, packed: Packed, data: Any, lead: tuple[int, ...], name: str) -> Any:
        if packed.kind == "palette4":
            low, high = data.reshape(-1)[0::2], data.reshape(-1)[1::2]
            packed_bytes = low.astype(np.uint8)
            packed_bytes[: len(high)] |= high << 4
            return mb.constexpr_lut_to_dense(
                indices=packed_bytes,
                lut=packed.table.reshape(-1),
                shape=np.array(data.shape, np.uint32),
                name=name,
            )
        # This operator has scales along one axis: other leading ones are merged and split again.
        flat = data.reshape(-1, *data.shape[len(lead) :])
        out = mb.constexpr_affine_dequantize(
            quantized_data=flat,
            zero_point=np.int8(0),
            scale=packed.table.reshape(-1),
            axis=np.int32(0),
            name=name,
        )
        return out if len(lead) == 1 else mb.reshape(x=out, shape=data.shape)

    def _linear(self, x: Any, name: str, linear: tuple[Any, Any], size: Any = None) -> Any:
        """A 1x1 convolution of [1, inputs, 1, length]; weight [outputs, inputs].

        `size`: what each input channel was divided by.
        """
        weight, bias = linear
        if size is not None:
            weight = weight * size
        held = self._weight(name, weight, (len(weight),), 2)
        if bias is None:
            return mb.conv(x=x, weight=held)
        return mb.conv(x=x, weight=held, bias=bias.astype(np.float16))

    def _norm(self, x: Any, pair: tuple[Any, Any]) -> Any:
        gain, bias = pair
        return mb.layer_norm(
            x=x,
            axes=[1],
            gamma=gain.astype(np.float16),
            beta=bias.astype(np.float16),
            epsilon=np.float16(max(self.model.config.epsilon, 6e-8)),
        )

    def _evened(self, x: Any, reader: str) -> tuple[Any, Any]:
        """What a layer reads with its outlier channels divided by their size, and the sizes.

        An error of a weight counts as much as its channel is large. The sizes go into the weights
        that read this, so that the function stays; None where there is no outlier.
        """
        size = self.sizes.get(reader)
        if size is None or size.max() <= OUTLIER:
            return x, None
        size = np.where(size > OUTLIER, size, 1).astype(np.float32)
        return mb.mul(x=x, y=(1 / size)[None, :, None, None].astype(np.float16)), size

    # Layers

    def _embeddings(self, ids: Any, kinds: Any) -> Any:
        model, config, family = self.model, self.model.config, self.model.family
        table, places, rows = model.tables
        x = mb.gather(x=self._weight("words", table, (len(table),), 0), indices=ids, axis=0)
        if kinds is not None:
            assert rows is not None
            x = mb.add(x=x, y=mb.gather(x=rows.astype(np.float16), indices=kinds, axis=0))
        # [1, length, width] -> [1, width, 1, length]
        x = mb.expand_dims(x=mb.transpose(x=x, perm=[0, 2, 1]), axes=[2])
        if places is not None:
            columns = places[: self.longest].T[None, :, None].astype(np.float16)
            x = mb.add(x=x, y=self._slice_last(columns, [0], self.length))
        if kinds is None and rows is not None:
            x = mb.add(x=x, y=rows[0][None, :, None, None].astype(np.float16))
        projected = config.embedding != config.width
        # ELECTRA's embeddings are normed before they are projected, DeBERTa's after.
        if projected and model.encoder is None:
            x = self._linear(x, "embed_proj", model.embed_projection)
        if family.embeddings_norm:
            x = self._norm(x, model.norm(family.embeddings_norm))
        if projected and model.encoder is not None:
            x = self._linear(x, "embed_proj", model.embed_projection)
        return x

    def _slice_last(self, table: Any, begin: Any, end: Any) -> Any:
        """Columns begin to end of a table of rank 4."""
        zeros = np.zeros(3, np.int32)
        return mb.slice_by_index(
            x=table,
            begin=mb.concat(values=[zeros, begin], axis=0),
            end=mb.concat(values=[zeros, end], axis=0),
            begin_mask=[True, True, True, False],
            end_mask=[True, True, True, False],
        )

    def _heads(self, x: Any) -> Any:
        config = self.model.config
        return mb.reshape(x=x, shape=[1, config.heads, config.head, -1])

    def _layer(self, hidden: Any, layer: int, last: bool) -> Any:
        model, width = self.model, self.model.config.width
        pre_norm = model.family.pre_norm
        norms = [model.layer_norm(layer, part) for part in ("attention_norm", "output_norm")]
        given = self._norm(hidden, norms[0]) if pre_norm else hidden
        read, size = self._evened(given, f"{layer}.qkv")
        asking, asked = hidden, read
        if last:
            asking, asked = (
                mb.slice_by_index(x=x, begin=[0, 0, 0, 0], end=[1, width, 1, 1])
                for x in (hidden, read)
            )
        query = self._heads(self._linear(asked, f"{layer}.query", model.side(layer, "query"), size))
        key = self._heads(self._linear(read, f"{layer}.key", model.side(layer, "key"), size))
        value = self._linear(read, f"{layer}.value", model.linear(layer, "value"), size)
        value = self._heads(value)
        scores = mb.matmul(x=query, y=key, transpose_x=True)
        terms = self._first_terms if last else self._terms
        if model.config.positions:
            for term in terms(query, key, layer):
                scores = mb.add(x=scores, y=term)
        if model.family.relative:
            scores = mb.add(x=scores, y=self.first_bias if last else self.bias)
        shares = mb.softmax(x=mb.add(x=scores, y=self.absent), axis=-1)
        mixed = mb.matmul(x=value, y=shares, transpose_y=True)
        mixed = mb.reshape(x=mixed, shape=[1, width, 1, -1])
        out = self._linear(mixed, f"{layer}.o", model.linear(layer, "o"))
        hidden = mb.add(x=out, y=asking)
        given = self._norm(hidden, norms[1 if pre_norm else 0])
        read, size = self._evened(given, f"{layer}.up")
        grown = self._linear(read, f"{layer}.up", model.linear(layer, "up"), size)
        grown = activation(grown, model.config.activation)
        out = self._linear(grown, f"{layer}.down", model.linear(layer, "down"))
        if pre_norm:
            return mb.add(x=out, y=hidden)
        return self._norm(mb.add(x=out, y=given), norms[1])

    def _convolution(self, embedded: Any, present: Any, hidden: Any) -> Any:
        config, conv = self.model.config, self.model.config.conv
        assert conv is not None
        weight, bias = self.model.convolution
        beside = conv.kernel // 2
        x = mb.conv(
            x=mb.mul(x=embedded, y=present),
            weight=weight[:, :, None].astype(np.float16),
            bias=bias.astype(np.float16),
            pad_type="custom",
            pad=[0, 0, beside, beside],
            groups=conv.groups,
        )
        x = activation(x, conv.activation)
        if config.layers == 1:
            x = mb.slice_by_index(x=x, begin=[0, 0, 0, 0], end=[1, config.width, 1, 1])
        return self._norm(mb.add(x=x, y=hidden), self.model.norm("encoder.conv.LayerNorm"))

    # Relative positions

    def _prepare_positions(self) -> None:
        middle = np.array([self.longest], np.int32)
        self.ends = (
            mb.sub(x=middle, y=self.length),
            mb.add(x=mb.add(x=middle, y=self.length), y=np.array([1], np.int32)),
        )
        self.shifted = mb.concat(
            values=[np.array([1, self.model.config.heads, -1], np.int32), self.length], axis=0
        )

    def _table(self, term: str, layer: int, distances: Any) -> Any:
        """The term's rows for these distances [1, heads, width of a head, distances]."""
        config = self.model.config
        table = self.model.position_table(term, layer, distances)
        return self._weight(f"{layer}.{term}", table, (1, config.heads, config.head), 0)

    def _terms(self, query: Any, key: Any, layer: int) -> list[Any]:
        """Terms [1, heads, length, length] of the scores."""
        rising = np.arange(-self.longest, self.longest + 1)
        found = []
        for term in sorted(self.model.config.positions):
            table = self._table(term, layer, rising[::-1] if term == "c2p" else rising)
            rows = query if term == "c2p" else key
            product = mb.matmul(x=rows, y=self._slice_last(table, *self.ends), transpose_x=True)
            shifted = self._shift(product)
            if term == "p2c":
                # Its rows are keys.
                shifted = mb.transpose(x=shifted, perm=[0, 1, 3, 2])
            found.append(shifted)
        return found

    def _shift(self, product: Any) -> Any:
        """The scores [..., length, length] of rows whose columns are distances, falling."""
        return mb.slice_by_index(
            x=mb.reshape(x=product, shape=self.shifted),
            begin=[0, 0, 1, 0],
            end=[0, 0, 0, 0],
            stride=[1, 1, 2, 1],
            begin_mask=[True, True, False, True],
            end_mask=[True] * 4,
        )

    def _prepare_bias(self) -> None:
        """MPNet's bias of all scores, and of the first query's, from one row of distances."""
        heads = self.model.config.heads

        def table(distances: Any) -> Any:
            return self.model.distances(distances)[None, :, None].astype(np.float16)

        first = np.arange(self.longest)
        self.first_bias = self._slice_last(table(first), [0], self.length)
        rows = self._slice_last(table(np.arange(-self.longest, self.longest + 1)), *self.ends)
        # A product with ones repeats the row for every query.
        ones = np.ones((1, heads, 1, self.longest), np.float16)
        ones = self._slice_last(ones, [0], self.length)
        self.bias = self._shift(mb.matmul(x=ones, y=rows, transpose_x=True))

    def _first_terms(self, query: Any, key: Any, layer: int) -> list[Any]:
        """Terms [1, heads, 1, length] of the first query's scores."""
        config = self.model.config
        found = []
        for term in sorted(config.positions):
            table = self._table(term, layer, -np.arange(self.longest))
            table = self._slice_last(table, [0], self.length)
            if term == "c2p":
                found.append(mb.matmul(x=query, y=table, transpose_x=True))
            else:
                # A sum over a head's width, as a product: coremltools' own sum fails in numpy 2.
                ones = np.ones((1, config.heads, 1, config.head), np.float16)
                found.append(mb.matmul(x=ones, y=mb.mul(x=key, y=table)))
        return found


def activation(x: Any, name: str) -> Any:
    """A transformers activation by its name, one of `deberta_config.ACTIVATIONS`."""
    if name.startswith("gelu"):
        return mb.gelu(x=x, mode="EXACT" if name == "gelu" else "TANH_APPROXIMATION")
    if name in ("silu", "swish"):
        return mb.silu(x=x)
    return {"relu": mb.relu, "tanh": mb.tanh}[name](x=x)


@contextmanager
def releases_named() -> Iterator[None]:
    """Turn what fails inside coremltools into a ProgramError that names the releases."""
    try:
        yield
    except (HarmGuardError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ProgramError(
            f"coremltools {ct.__version__} with numpy {np.__version__} cannot convert the program: "
            f"{type(error).__name__}: {error}; expected releases that fit together; likely "
            "numpy 2.4 or newer, which parts of coremltools 9.0 cannot take: "
            "pip install 'numpy<2.4'"
        ) from error


def convert(program: Any, inputs: Mapping[str, Any], target: str) -> Any:
    """The MLModel of a program; `inputs` maps names to coremltools' shapes."""
    with warnings.catch_warnings():
        # It leaves the removal of its folder for the weights to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        return ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            inputs=[ct.TensorType(n, shape=shape, dtype=np.int32) for n, shape in inputs.items()],
            minimum_deployment_target=getattr(ct.target, target),
            # The program is fp16 as it is written.
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
