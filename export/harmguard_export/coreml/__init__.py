"""Core ML bundles. Needs the extras `[export,coreml]`.

from harmguard_export.coreml import export_coreml
export_coreml(Path("checkpoint"), Path("bundle"), recipe="int8")
"""

from __future__ import annotations

import logging
import warnings

from harmguard.extras import require

require("Core ML", "coremltools", extra="export,coreml")

# It warns at import that it was not tested with this torch, and that this is no Mac.
logging.disable(logging.WARNING)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import coremltools as _  # noqa: F401
logging.disable(logging.NOTSET)

from harmguard_export.coreml.exporter import export_coreml  # noqa: E402

__all__ = ["export_coreml"]
