package dev.harmguard.core

import dev.harmguard.core.bundle.Bundle

/** What gives logits: ONNX Runtime, behind an interface. It may be called by several threads at once. */
public interface Model : AutoCloseable {
    /** Logits of each row, `[rows][safe, harmful]`. Raises [RunError], or [GraphMismatchError] for another shape. */
    public fun logits(batch: Batch): Array<FloatArray>
}

/** Opens the model of a bundle. */
public fun interface ModelOpener {
    /** The model of the checked [bundle]. Raises [BundleError]. */
    public fun open(bundle: Bundle): Model
}
