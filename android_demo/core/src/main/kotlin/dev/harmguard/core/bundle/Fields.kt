package dev.harmguard.core.bundle

import dev.harmguard.core.ManifestError
import java.util.Locale

internal const val MANIFEST = "guard.json"

/** What verify leaves in the folder about the large files that it has hashed. */
internal const val RECORD = "guard.verified.json"

/** The fields of one JSON object, each taken once with a check that names it; [end] refuses the rest. */
internal class Fields(value: Any?, private val where: String) {
    val rest: MutableMap<String, Any?> =
        LinkedHashMap(value.asObject() ?: throw wrong(where.ifEmpty { "the manifest" }, value, "an object"))

    private fun path(key: String): String = if (where.isEmpty()) key else "$where.$key"

    /** The value of a field that must be there. All of these raise ManifestError. */
    fun take(key: String): Any? {
        if (key !in rest) {
            throw ManifestError(
                "$MANIFEST: ${path(key)} is missing; expected every field of the format; " +
                    "likely written by hand or by another tool",
            )
        }
        return rest.remove(key)
    }

    fun isNull(key: String): Boolean = key in rest && rest[key] == null

    fun fields(key: String): Fields = Fields(take(key), path(key))

    fun string(key: String, pattern: Regex? = null): String {
        val value = take(key)
        if (value is String && if (pattern == null) chars(value) in 1..2000 else pattern.matches(value)) return value
        throw wrong(path(key), value, if (pattern == null) "a string of 1 to 2,000 characters" else "a string like $pattern")
    }

    fun integer(key: String, low: Long, high: Long = 1L shl 53): Long {
        val value = take(key)
        if (value is Long && value in low..high) return value
        throw wrong(path(key), value, "an integer from $low to $high")
    }

    fun number(key: String, low: Double, high: Double): Double {
        val value = take(key)
        if (value is Number && value.toDouble() in low..high) return value.toDouble()
        throw wrong(path(key), value, "a number from $low to $high")
    }

    fun list(key: String): List<Any?> {
        val value = take(key)
        return value as? List<*> ?: throw wrong(path(key), value, "a list")
    }

    fun strings(key: String): List<String> {
        val value = list(key)
        return value.map { text ->
            (text as? String)?.takeIf { chars(it) in 1..500 } ?: throw wrong(path(key), value, "a list of strings")
        }
    }

    fun end() {
        val first = rest.keys.firstOrNull() ?: return
        throw ManifestError(
            "$MANIFEST: unknown field ${shown(path(first))}; expected only the fields of the format " +
                "(additions are named x_...); likely a typing error",
        )
    }
}

internal fun wrong(path: String, value: Any?, expected: String): ManifestError =
    ManifestError("$MANIFEST: $path is ${shown(value)}; expected $expected; likely written by hand or by another tool")

/** A value for a message: printable ASCII, and the beginning only. */
internal fun shown(value: Any?): String {
    val text = if (value is String) "'$value'" else value.toString()
    val out = StringBuilder()
    for (c in text.take(80)) {
        if (c in ' '..'~') out.append(c) else out.append(String.format(Locale.ROOT, "\\u%04x", c.code))
    }
    return if (text.length > 80) "$out..." else out.toString()
}
