"""Optimum's export of a checkpoint and onnxruntime's dynamic int8 of it, as their docs show.

    python -m benchmarks optimum_export CHECKPOINT OUT

A process of its own, so that nothing of the export stays in the process that is timed.
"""

from __future__ import annotations

import sys
from pathlib import Path


def export(checkpoint: str, out: Path) -> None:
    """Write OUT/model.onnx (fp32) and OUT/model_quantized.onnx (int8, per-tensor weights)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from optimum.exporters.onnx import main_export

    main_export(
        checkpoint,
        output=out,
        opset=18,
        task="text-classification",
        do_validation=False,
        local_files_only=True,
    )
    quantize_dynamic(out / "model.onnx", out / "model_quantized.onnx", weight_type=QuantType.QInt8)


def main() -> int:
    """Export what the arguments name."""
    export(sys.argv[1], Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
