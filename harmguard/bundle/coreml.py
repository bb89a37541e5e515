"""What a bundle for Core ML has that one for ONNX Runtime has not: a package, and given lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harmguard.bundle.fields import Fields, wrong

COREML_FILES = (
    "model.mlpackage/Manifest.json",
    "model.mlpackage/Data/com.apple.CoreML/model.mlmodel",
    "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
)


@dataclass(frozen=True)
class Lengths:
    """The lengths that a Core ML program takes: "enumerated" ones, or a "range" of two ends."""

    kind: str
    values: tuple[int, ...]
    left_out: tuple[int, ...]
    """Lengths that were asked for and are beyond the model's positions."""

    @staticmethod
    def take(fields: Fields) -> Lengths:
        """Read `input.lengths`; ManifestError names what is wrong."""
        kind = fields.string("kind", "enumerated|range")
        found = {name: tuple(fields.list(name)) for name in ("values", "left_out")}
        for name, values in found.items():
            plain = all(type(n) is int and 0 < n <= 1 << 20 for n in values)
            if not plain or list(values) != sorted(set(values)):
                raise wrong(f"input.lengths.{name}", list(values), "rising positive integers")
        count = len(found["values"])
        if count == 0 or (kind == "range" and count != 2):
            expected = "lengths, or the two ends of a range"
            raise wrong("input.lengths.values", list(found["values"]), expected)
        fields.end()
        return Lengths(kind, found["values"], found["left_out"])

    def to_json(self) -> dict[str, Any]:
        """As parsed JSON has them."""
        return {
            "kind": self.kind,
            "values": list(self.values),
            "left_out": list(self.left_out),
        }

    def padded(self, tokens: int) -> int:
        """What a window of `tokens` is padded to."""
        if self.kind == "range":
            return max(tokens, self.values[0])
        return next(n for n in self.values if n >= tokens)
