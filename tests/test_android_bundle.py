"""The tables of android_demo's bundle reader are those of Python's."""

from __future__ import annotations

import re
from pathlib import Path

from harmguard.bundle import operators, tokenizer_rules
from harmguard.bundle.onnx_file import MESSAGES
from harmguard.bundle.wire import BYTES, FIXED32, FIXED64, VARINT

FOLDER = Path(__file__).parents[1] / "android_demo/core/src/main/kotlin/dev/harmguard/core/bundle"


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def test_operators() -> None:
    blocks = re.findall(r'val ([A-Z_]+).*?names\(\s*"+(.*?)"', read("Operators.kt"), re.S)
    found = {name: set(names.split()) for name, names in blocks}
    rest = operators.STANDARD - operators.FIRST_INPUT - operators.AMPLIFYING
    assert found == {
        "FIRST_INPUT": operators.FIRST_INPUT,
        "AMPLIFYING": operators.AMPLIFYING,
        "STANDARD": rest,
        "MICROSOFT": operators.MICROSOFT,
    }


def test_steps_and_fields_of_tokenizers() -> None:
    table = read("TokenizerSteps.kt").split('"""')[1].strip()
    found: dict[str, dict[str, set[str]]] = {}
    for line in table.splitlines():
        name, *fields = line.split()
        if line[0] != " ":
            part = found[name] = {}
        else:
            part[name] = {field.split(":")[0] for field in fields}
    added = found.pop("added_tokens")["token"]
    models = {kind: set(fields) - {"type"} for kind, fields in tokenizer_rules._MODELS.items()}
    assert found.pop("model") == models
    assert found == {
        part: {kind: set(fields) for kind, fields in kinds.items()}
        for part, kinds in tokenizer_rules._STEPS.items()
    }
    assert len(added) == 7


def test_messages_of_protobuf() -> None:
    wires = {"v": VARINT, "d": FIXED64, "f": FIXED32} | dict.fromkeys("tmbx", BYTES)
    fields = r"\d+[a-zA-Z]"
    tables = re.findall(
        rf'"({fields}(?: {fields})+)"', read("OnnxFile.kt").replace("$graphs", "6m")
    )
    found = {
        frozenset((int(f[:-1]), wires[f[-1].lower()], f[-1].islower()) for f in table.split())
        for table in tables
    }
    expected = set()
    for message in MESSAGES:
        kinds: dict[int, tuple[int, bool]] = {}
        for tag, bit in message.tags.items():
            # Repeated numbers may also be packed in bytes.
            if tag >> 3 not in kinds or tag & 7 != BYTES:
                kinds[tag >> 3] = tag & 7, bool(bit)
        expected.add(frozenset((number, *kind) for number, kind in kinds.items()))
    assert found == expected
