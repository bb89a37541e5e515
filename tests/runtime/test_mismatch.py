"""A tokenizer, a manifest and a graph that do not fit each other, or that throw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from harmguard import HarmGuard, HarmGuardError, errors
from harmguard.bundle import open_bundle, write_bundle
from harmguard.core.encode import PairEncoder
from harmguard.core.tokenizing import encode_text, is_panic, named_errors
from harmguard.verify import verify

BundleMaker = Callable[..., Path]
Change = Callable[[Tokenizer, onnx.ModelProto, dict[str, Any]], Tokenizer | None]
SECRET = "aardwolf"


@pytest.fixture
def changed(small_bundle: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """Make a bundle of `small_bundle` with its tokenizer, graph or manifest changed."""

    def make(change: Change) -> Path:
        bundle = open_bundle(small_bundle)
        tokenizer = Tokenizer.from_file(str(small_bundle / "tokenizer.json"))
        model = onnx.load(small_bundle / "model.onnx")
        fields = bundle.manifest.to_json()
        names = fields.pop("files")
        tokenizer = change(tokenizer, model, fields) or tokenizer
        files: dict[str, Path | bytes] = {name: small_bundle / name for name in names}
        files["model.onnx"] = model.SerializeToString()
        files["tokenizer.json"] = tokenizer.to_str().encode()
        return write_bundle(tmp_path / "guard", fields, files)

    return make


def weight(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    found: list[onnx.TensorProto] = [t for t in model.graph.initializer if t.name == name]
    return found[0]


def cut(model: onnx.ModelProto, name: str, rows: int) -> None:
    tensor = weight(model, name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:rows].copy(), name))


# Tables that are too small, found at load


def fewer_words(tokenizer: Tokenizer, model: Any, fields: Any) -> None:
    cut(model, "words", tokenizer.get_vocab_size() - 1)


def half_of_the_words(tokenizer: Tokenizer, model: Any, fields: Any) -> None:
    cut(model, "words", tokenizer.get_vocab_size() // 2)


def one_type(tokenizer: Any, model: Any, fields: Any) -> None:
    cut(model, "types", 1)


def an_added_token(tokenizer: Tokenizer, model: Any, fields: Any) -> None:
    tokenizer.add_tokens(["quokka"])


def a_pad_that_is_none(tokenizer: Any, model: Any, fields: dict[str, Any]) -> None:
    fields["input"]["pad_id"] = 5_000


@pytest.mark.parametrize(
    "change", [fewer_words, half_of_the_words, one_type, an_added_token, a_pad_that_is_none]
)
def test_ids_and_types_without_an_embedding(changed: Any, change: Change) -> None:
    with pytest.raises(errors.GraphMismatchError, match="fails on short probes with token ids up"):
        HarmGuard(changed(change))


def test_special_tokens_that_no_text_gives_need_no_embedding(changed: Any) -> None:
    def special(tokenizer: Tokenizer, model: Any, fields: Any) -> None:
        tokenizer.add_special_tokens(["<extra>", "<more>"])

    with HarmGuard(changed(special), threads=1) as guard:
        assert 0 <= guard.score("how to <extra>") <= 1


# Graphs that give another number of rows


def first_row(model: onnx.ModelProto) -> None:
    """Give the first row's logits alone, as a graph traced with one row does."""
    model.graph.node[-1].output[0] = "all"
    zero = numpy_helper.from_array(np.array([0], np.int64), "zero")
    one = numpy_helper.from_array(np.array([1], np.int64), "first")
    model.graph.initializer.extend([zero, one])
    model.graph.node.append(helper.make_node("Slice", ["all", "zero", "first", "zero"], ["logits"]))


def one_row(tokenizer: Any, model: onnx.ModelProto, fields: Any) -> None:
    first_row(model)


def a_long_row(tokenizer: Any, model: onnx.ModelProto, fields: Any) -> None:
    model.graph.node[-1].output[0] = "all"
    shape = numpy_helper.from_array(np.array([1, -1], np.int64), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("Reshape", ["all", "shape"], ["logits"]))


def doubled(tokenizer: Any, model: onnx.ModelProto, fields: Any) -> None:
    model.graph.node[-1].output[0] = "all"
    model.graph.node.append(helper.make_node("Concat", ["all", "all"], ["logits"], axis=0))


@pytest.mark.parametrize("change", [one_row, a_long_row, doubled])
def test_a_result_of_another_shape(changed: Any, change: Change) -> None:
    with pytest.raises(errors.GraphMismatchError, match=r"a result of shape .*; expected \[3, 2\]"):
        HarmGuard(changed(change))


def test_the_shape_is_looked_at_at_every_call(changed: Any) -> None:
    def at_most_five_rows(tokenizer: Any, model: onnx.ModelProto, fields: Any) -> None:
        first_row(model)
        weight(model, "first").CopyFrom(numpy_helper.from_array(np.array([5], np.int64), "first"))

    with HarmGuard(changed(at_most_five_rows), threads=1) as guard:
        assert len(guard.score_many([("a", None)] * 5)) == 5
        for count in (6, 7, 40):
            with pytest.raises(errors.GraphMismatchError, match=r"expected \[\d+, 2\], a row"):
                guard.score_many([("a", None)] * count)


# The largest window


def positions(rows: int) -> Change:
    """Add a table of so many positions, whose rows are added to the words'."""

    def change(tokenizer: Any, model: onnx.ModelProto, fields: Any) -> None:
        table = np.zeros((rows, 16), np.float32)
        nodes = [
            helper.make_node("Shape", ["input_ids"], ["size"], start=1, end=2),
            helper.make_node("Slice", ["table", "none", "size", "none"], ["places"]),
            helper.make_node("Add", ["word", "places"], ["placed"]),
        ]
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(table, "table"),
                numpy_helper.from_array(np.array([0], np.int64), "none"),
            ]
        )
        (adds,) = (node for node in model.graph.node if list(node.input) == ["word", "type"])
        place = list(model.graph.node).index(adds)
        adds.input[0] = "placed"
        for number, node in enumerate(nodes):
            model.graph.node.insert(place + number, node)

    return change


@pytest.mark.parametrize("rows", [1, 24, 63])
@pytest.mark.parametrize("form", ["raw", "numbers", "last axis"])
def test_a_table_of_positions_that_is_too_short(changed: Any, rows: int, form: str) -> None:
    def change(tokenizer: Any, model: onnx.ModelProto, fields: Any) -> None:
        positions(rows)(tokenizer, model, fields)
        if form == "numbers":  # as a list in the file, in place of bytes
            weight(model, "none").CopyFrom(helper.make_tensor("none", TensorProto.INT64, [1], [0]))
        if form == "last axis":
            zero = numpy_helper.from_array(np.array([-2], np.int64), "axis")
            model.graph.initializer.append(zero)
            (node,) = (n for n in model.graph.node if "table" in n.input)
            node.input[3] = "axis"

    with pytest.raises(errors.GraphMismatchError, match=rf"'table' has {rows} rows; expected at"):
        HarmGuard(changed(change))


@pytest.mark.parametrize("rows", [64, 65, 512])
def test_a_table_of_positions_that_is_long_enough(changed: Any, rows: int) -> None:
    with HarmGuard(changed(positions(rows)), threads=1) as guard:
        assert guard.check("kind " * 200).windows > 3


def hidden(rows: int) -> Change:
    """The same table, cut in a way that the file does not show."""

    def change(tokenizer: Any, model: onnx.ModelProto, fields: Any) -> None:
        positions(rows)(tokenizer, model, fields)
        (node,) = (n for n in model.graph.node if "table" in n.input)
        node.input[0] = "copied"
        place = list(model.graph.node).index(node)
        model.graph.node.insert(place, helper.make_node("Abs", ["table"], ["copied"]))

    return change


@pytest.mark.parametrize("rows", [63, 48, 24])
def test_windows_that_are_longer_than_the_positions(changed: Any, rows: int, cache: Path) -> None:
    folder = changed(hidden(rows))
    works: list[Callable[[Path], object]] = [
        verify,
        lambda path: HarmGuard(path, threads=1).score("kind " * 200),
    ]
    for work in works:
        with pytest.raises(HarmGuardError, match=r"64 tokens"):
            work(folder)
    with pytest.warns(errors.UnpreparedWarning, match=r"64 tokens"):
        HarmGuard(folder, threads=1, cache=cache).close()


def test_windows_as_long_as_the_positions(changed: Any) -> None:
    assert verify(changed(hidden(64))).rows == 1


# Tokenizers that throw


def panics(tokenizer: Tokenizer, model: Any, fields: Any) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.FixedLength(0)


def lacks_its_unknown(tokenizer: Tokenizer, model: Any, fields: Any) -> Tokenizer:
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    new = Tokenizer(models.WordLevel(vocabulary, unk_token="<none>"))
    new.pre_tokenizer = pre_tokenizers.Whitespace()
    new.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    return new


def without_unknown(tokenizer: Tokenizer, more: str) -> Tokenizer:
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    # In place of what follows the plain letters: the ids in use stay, and no row is added.
    pieces[-len(more) :] = more
    new = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], None, False))
    new.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    return new


def no_unknown_piece(tokenizer: Tokenizer, model: Any, fields: Any) -> Tokenizer:
    return without_unknown(tokenizer, "\u2603")


@pytest.mark.parametrize("change", [panics, lacks_its_unknown, no_unknown_piece])
def test_a_tokenizer_that_would_throw_is_refused_at_load(changed: Any, change: Change) -> None:
    with pytest.raises(errors.TokenizerError, match=r"tokenizer\.json has"):
        HarmGuard(changed(change))


@pytest.mark.parametrize("change", [panics, lacks_its_unknown, no_unknown_piece])
def test_what_such_a_tokenizer_throws_has_a_name(
    plain_tokenizer: Tokenizer, change: Change
) -> None:
    model = onnx.ModelProto()
    tokenizer = Tokenizer.from_str(plain_tokenizer.to_str())
    tokenizer = change(tokenizer, model, {}) or tokenizer
    with pytest.raises(errors.TokenizerError, match="text: the tokenizer failed"):
        named_errors("text", encode_text, tokenizer, "\u4e2d")


def known_letters_only(tokenizer: Tokenizer, model: Any, fields: Any) -> Tokenizer:
    """A tokenizer that throws at what is no letter, nor asked by an encoder that is made."""
    return without_unknown(tokenizer, "ACDEHKLMNPSTU[] \U000131a5\U0010fffd\ue000")


@pytest.mark.parametrize(
    "text", [f"{SECRET} \u2603", f"\u4e2d{SECRET}", f"{SECRET}\U0001f600" * 2_000]
)
def test_a_tokenizer_that_throws_at_a_text(
    small_bundle: Path, plain_tokenizer: Tokenizer, text: str
) -> None:
    """No bundle may have it; what the library throws at a text has a name all the same."""
    throws = known_letters_only(plain_tokenizer, onnx.ModelProto(), {})
    spec = open_bundle(small_bundle).manifest.input
    with HarmGuard(small_bundle, threads=1) as guard:
        guard._scorer.encoder = PairEncoder(throws, spec.template, spec.max_tokens)
        assert 0 <= guard.score("kind") <= 1
        for work, where in (
            (lambda: guard.score(text), "text: "),
            (lambda: guard.check("kind", text), "text: "),
            (lambda: guard.score_many([("kind", None), ("kind", text)]), "pair 1: text: "),
        ):
            with pytest.raises(errors.TokenizerError) as caught:
                work()
            assert str(caught.value).startswith(f"{where}the tokenizer failed (Exception)")
            assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit, MemoryError])
def test_what_is_no_fault_of_a_tokenizer_passes(error: type[BaseException]) -> None:
    def throw() -> None:
        raise error

    with pytest.raises(error):
        named_errors("text", throw)
    assert not is_panic(error())


def test_a_model_that_fails_on_a_text(changed: Any) -> None:
    with HarmGuard(changed(hidden(40)), threads=1) as guard:
        for pair in ((f"{SECRET} " * 7, None), ("a", "kind " * 50), ("kind " * 60, "")):
            with pytest.raises(
                errors.RunError, match=r"failed on [12] inputs of \d+ tokens"
            ) as found:
                guard.score(*pair)
            assert found.value.__context__ is None
            assert SECRET not in str(found.value)
