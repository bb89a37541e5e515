package dev.harmguard.core.bundle

import dev.harmguard.core.ManifestError
import dev.harmguard.core.UnsupportedVersionError

internal const val MAX_MANIFEST_BYTES = 1 shl 20

/** A validated `guard.json`: see docs/bundle-format.md. What only people read of it is checked and not kept. */
public class Manifest internal constructor(
    public val name: String,
    public val version: String,
    public val status: String,
    public val licence: String,
    public val input: InputSpec,
    /** What the logits are divided by. */
    public val temperature: Double,
    /** Kind of input ("prompt", "exchange") to name to operating point. */
    public val thresholds: Map<String, Map<String, Threshold>>,
    public val requires: OnnxRequires,
    public val metrics: Map<String, Any?>,
    public val files: Map<String, FileEntry>,
    /** The version that was read, 1 or 3. */
    public val formatVersion: Int,
) {
    public val labels: List<String> get() = listOf("safe", "harmful")

    /** Scripts (ISO 15924) of the letters trained on, as `metrics.scripts` has them; or null. */
    public val scripts: List<String>? get() = (metrics["scripts"] as? List<*>)?.filterIsInstance<String>()

    public companion object {
        /** Raises ManifestError, UnsupportedVersionError, UnsafePathError or WrongRuntimeError. */
        internal fun fromBytes(data: ByteArray): Manifest {
            val value = try {
                StrictJson.parse(data, MAX_MANIFEST_BYTES)
            } catch (error: JsonError) {
                throw ManifestError("$MANIFEST: ${error.message}; likely a damaged or hostile manifest, or a git-lfs pointer")
            }
            if (value.asObject()?.get("format_version") == FORMAT_VERSION) checkDigest(data, value)
            return fromJson(value)
        }

        private fun fromJson(value: Any?): Manifest {
            val top = Fields(value, "")
            val version = top.integer("format_version", 0)
            if (version !in 1..FORMAT_VERSION) {
                throw UnsupportedVersionError(
                    "$MANIFEST: format_version is $version; expected 1 to $FORMAT_VERSION; " +
                        "likely a bundle made for another release of harmguard",
                )
            }
            if (version == FORMAT_VERSION) top.take("digest")
            val requires = takeRequires(top.fields("requires"), version)
            val training = top.fields("training")
            val name = top.string("name", Regex("[a-z0-9][a-z0-9._-]{0,63}"))
            val release = top.string("version", Regex("[0-9A-Za-z][0-9A-Za-z.+-]{0,31}"))
            val status = top.string("status", Regex("trial|release"))
            val licence = top.string("licence")
            top.string("base_model")
            checkTrainingData(training)
            training.string("recipe")
            val input = takeInput(top.fields("input"), version)
            val labels = top.strings("labels")
            if (labels != listOf("safe", "harmful")) throw wrong("labels", labels, "safe and harmful, in this order")
            val temperature = takeTemperature(top.fields("output"))
            val thresholds = takeThresholds(top.fields("thresholds"))
            checkPrecision(top.fields("precision"))
            val metrics = top.fields("metrics").rest
            val files = takeFiles(top.fields("files"))
            top.rest.keys.removeAll { it.startsWith("x_") }
            training.end()
            top.end()
            checkStrings(value)
            return Manifest(
                name, release, status, licence, input, temperature, thresholds, requires, metrics, files, version.toInt(),
            )
        }

        /** Compares the digest with the bytes, in which 64 zeros stand for it. */
        private fun checkDigest(data: ByteArray, value: Any?) {
            val digest = value.asObject()?.get("digest")
            if (digest !is String || !Regex("[0-9a-f]{64}").matches(digest)) {
                throw wrong("digest", digest, "a sha256 in lower-case hexadecimal")
            }
            // Each byte is one character, and back.
            val text = String(data, Charsets.ISO_8859_1)
            val place = text.indexOf(digest)
            if (place < 0 || text.indexOf(digest, place + digest.length) >= 0) {
                throw wrong("digest", digest, "it to stand in the file once, without escapes")
            }
            val blank = text.replace(digest, "0".repeat(digest.length)).toByteArray(Charsets.ISO_8859_1)
            val found = sha256(blank)
            if (found != digest) {
                throw ManifestError(
                    "$MANIFEST: its content has the digest ${found.take(12)}...; expected ${digest.take(12)}... as it says; " +
                        "likely damaged, or edited by hand: `harmguard calibrate` writes other thresholds",
                )
            }
        }

        private fun checkStrings(value: Any?) {
            when (value) {
                is String -> if (!StrictJson.isPlainText(value)) {
                    throw ManifestError(
                        "$MANIFEST: a string of ${chars(value)} characters holds control characters or lone surrogates; " +
                            "expected printable text; likely a hostile or hand-made manifest",
                    )
                }
                is List<*> -> value.forEach(::checkStrings)
                is Map<*, *> -> value.forEach { (key, item) ->
                    checkStrings(key)
                    checkStrings(item)
                }
            }
        }
    }
}
