package dev.harmguard.core

import dev.harmguard.core.bundle.Manifest
import java.util.Locale

/** What happens to a text that the model cannot take at once. */
public enum class LongText {
    /** It is scored in overlapping windows, and the highest score counts. */
    WINDOW,

    /** [TextTooLongError]. */
    ERROR,
}

private val NUMBER = Regex("[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]{1,3})?")

internal fun grouped(number: Int): String = String.format(Locale.ROOT, "%,d", number)

/** Raise TextTooLongError or InvalidTextError for what cannot be scored. */
internal fun checkText(text: String, name: String, maxChars: Int) {
    val count = text.codePointCount(0, text.length)
    if (count > maxChars) {
        throw TextTooLongError(
            "$name has ${grouped(count)} characters; expected at most ${grouped(maxChars)}; likely a whole document: " +
                "score its parts",
        )
    }
    var at = 0
    var position = 0
    while (at < text.length) {
        val c = text.codePointAt(at)
        if (c in 0xD800..0xDFFF) {
            throw InvalidTextError(
                "$name holds a lone surrogate at position ${grouped(position)} of ${grouped(count)}; expected valid " +
                    "Unicode; likely wrongly decoded text",
            )
        }
        at += Character.charCount(c)
        position++
    }
}

/** The threshold in use for each kind of input: of an operating point's name, or a number as text. */
internal fun checkedThresholds(manifest: Manifest, value: String): Map<String, Double> {
    val points = manifest.thresholds
    val common = points.values.map { it.keys }.reduce { one, other -> one intersect other }
    if (value in common) return points.mapValues { (_, named) -> named.getValue(value).value }
    val number = if (NUMBER.matches(value.trim())) value.trim().toDouble() else null
    if (number != null && number in 0.0..1.0) return points.mapValues { number }
    throw UnknownThresholdError(
        if (number != null) {
            "threshold is $number; expected a number in [0, 1]"
        } else {
            "no operating point of ${grouped(value.length)} characters in guard '${manifest.name}'; expected a number or " +
                "one of ${common.sorted().joinToString()}; likely a spelling mistake"
        },
    )
}
