package dev.harmguard.core.bundle

import dev.harmguard.core.Template
import java.io.File

// Placeholder of the contract: the bundle reader replaces this file.

/** How a pair becomes the graph's input; [maxChars] bounds each text, in code points. */
public class InputSpec(
    public val template: Template,
    public val maxTokens: Int,
    public val padId: Int,
    public val maxChars: Int,
    public val names: List<String>,
    public val normalisation: String = "none",
)

/** An operating point: harmful means score >= [value]. */
public class Threshold(
    public val value: Double,
    public val set: String?,
    public val rule: String,
)

/** A validated `guard.json`. */
public class Manifest(
    public val name: String,
    public val input: InputSpec,
    public val temperature: Double,
    public val thresholds: Map<String, Map<String, Threshold>>,
    public val scripts: List<String>?,
)

/** A bundle whose files have been checked. */
public class Bundle(
    public val folder: File,
    public val manifest: Manifest,
    public val tokenizerJson: ByteArray,
    public val graph: File,
)
