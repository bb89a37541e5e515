package dev.harmguard.core

import kotlin.math.abs
import kotlin.math.exp

/** 1 / (1 + exp(-x)); the exponent is never positive, so nothing overflows. */
internal fun sigmoid(x: Double): Double {
    val power = exp(-abs(x))
    return (if (x >= 0) 1.0 else power) / (1.0 + power)
}

/** The logit of harmful less that of safe. */
internal fun margin(logits: FloatArray): Double = logits[1].toDouble() - logits[0].toDouble()

/** Which of its windows a text has its score of: the first of the highest. */
internal fun winner(logits: List<FloatArray>): Int = logits.indices.maxByOrNull { margin(logits[it]) } ?: 0

/** P(harmful) of a text, in [0, 1]: the highest of its windows. */
internal fun textScore(logits: List<FloatArray>, temperature: Double): Double = logits.maxOf { sigmoid(margin(it) / temperature) }
