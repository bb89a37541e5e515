"""What the manifest of a bundle for Core ML has beside, or in place of, an ONNX bundle's fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harmguard._json import Fields, wrong

COREML_VERSION = 2
"""The format version of bundles for Core ML: other files, given lengths, int32 inputs."""
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


@dataclass(frozen=True)
class CoremlRequires:
    """The oldest system that runs a Core ML program, as "iOS18", and its specification version."""

    runtime: str
    deployment: str
    specification: int

    @staticmethod
    def take(fields: Fields) -> CoremlRequires:
        """Read `requires`; ManifestError names what is wrong."""
        found = CoremlRequires(
            runtime=fields.string("runtime", "coreml"),
            deployment=fields.string("deployment", "iOS[0-9]{1,3}"),
            specification=fields.integer("specification", 1, 1000),
        )
        fields.end()
        return found
