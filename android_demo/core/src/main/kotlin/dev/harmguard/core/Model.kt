package dev.harmguard.core

import dev.harmguard.core.bundle.Bundle

/** What gives logits: ONNX Runtime, behind an interface. Used by one thread at a time. */
public interface Model : AutoCloseable {
    /** Logits of each row, `[rows][safe, harmful]`. Raises [RunError]. */
    public fun logits(batch: Batch): Array<FloatArray>
}

/** Opens the model of a bundle. */
public fun interface ModelOpener {
    /** The model of the checked [bundle]. Raises [BundleError]. */
    public fun open(bundle: Bundle): Model
}
