package dev.harmguard.core.bundle

import dev.harmguard.core.Piece
import dev.harmguard.core.Template
import dev.harmguard.core.UnsafePathError
import dev.harmguard.core.UnsupportedVersionError
import dev.harmguard.core.WrongRuntimeError
import java.util.Locale

internal const val FORMAT_VERSION = 3L
internal val REQUIRED_FILES = listOf("model.onnx", "tokenizer.json", "golden.jsonl")
private val KINDS = mapOf("prompt" to listOf("prompt"), "exchange" to listOf("prompt", "response"))
private val NORMALISATIONS = listOf("none", "views-1")
private val GRAPH_INPUTS = listOf("input_ids", "attention_mask", "token_type_ids")
private val FILE_NAME = Regex("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

/** Size in bytes and lower-case hexadecimal sha256 of one file. */
public data class FileEntry(val size: Long, val sha256: String)

/** An operating point: harmful means score >= [value]; [set] and [rule] say what chose it. */
public data class Threshold(val value: Double, val set: String?, val rule: String)

/** How a pair becomes the graph's input; [maxChars] bounds each text, in code points. */
public data class InputSpec(
    val template: Template,
    val maxTokens: Int,
    val padId: Int,
    val maxChars: Int,
    val names: List<String>,
    val normalisation: String = "none",
)

/** The ONNX opset of the graph and the oldest ONNX Runtime that runs it, as "1.20". */
public data class OnnxRequires(val opset: Long, val onnxruntime: String)

internal fun checkTrainingData(training: Fields) {
    if (training.rest["data"] == "unknown") {
        training.take("data")
        return
    }
    training.list("data").forEachIndexed { number, value ->
        val item = Fields(value, "training.data[$number]")
        if (item.isNull("rows")) item.take("rows") else item.integer("rows", 0)
        item.string("source")
        item.string("licence")
        item.end()
    }
}

internal fun takeInput(fields: Fields, version: Long): InputSpec {
    val template = fields.fields("template")
    val pieces = KINDS.mapValues { (kind, texts) -> takeTemplate(template, kind, texts) }
    template.end()
    // The longest template must leave room for text in every window.
    val least = pieces.values.maxOf { it.size } + 8L
    val names = fields.strings("names")
    if (names != GRAPH_INPUTS && names != GRAPH_INPUTS.take(2)) {
        throw wrong("input.names", names, "$GRAPH_INPUTS, the last optional")
    }
    val maxTokens = fields.integer("max_tokens", least, 1L shl 20).toInt()
    val padId = fields.integer("pad_id", 0, Int.MAX_VALUE.toLong()).toInt()
    val maxChars = fields.integer("max_chars", 1, 1L shl 31).coerceAtMost(Int.MAX_VALUE.toLong()).toInt()
    fields.string("dtype", Regex("int64"))
    fields.string("output", Regex("logits"))
    val normalisation = if (version == FORMAT_VERSION) takeNormalisation(fields) else "none"
    fields.end()
    return InputSpec(
        Template(pieces.getValue("prompt"), pieces.getValue("exchange")),
        maxTokens,
        padId,
        maxChars,
        names,
        normalisation,
    )
}

private fun takeNormalisation(fields: Fields): String {
    val name = fields.string("normalisation")
    if (name in NORMALISATIONS) return name
    throw UnsupportedVersionError(
        "$MANIFEST: input.normalisation is ${shown(name)}; expected ${NORMALISATIONS.joinToString(" or ")}; " +
            "likely a bundle made for a newer release of harmguard",
    )
}

private fun takeTemplate(template: Fields, kind: String, texts: List<String>): List<Piece> {
    val found = template.list(kind).mapIndexed { number, value ->
        val piece = Fields(value, "input.template.$kind[$number]")
        val type = piece.integer("type", 0, 7).toInt()
        val made = if ("text" in piece.rest) {
            Piece(type, text = piece.string("text", Regex("prompt|response")))
        } else {
            Piece(type, piece.string("token"), piece.integer("id", 0, Int.MAX_VALUE.toLong()).toInt())
        }
        piece.end()
        made
    }
    val named = found.mapNotNull { it.text }
    if (named != texts || found.size > 16) {
        throw wrong("input.template.$kind", named, "at most 16 pieces with the texts $texts")
    }
    return found
}

internal fun takeTemperature(fields: Fields): Double {
    fields.string("kind", Regex("logits"))
    val temperature = fields.number("temperature", 0.01, 100.0)
    fields.end()
    return temperature
}

internal fun takeThresholds(fields: Fields): Map<String, Map<String, Threshold>> {
    val kinds = KINDS.keys.associateWith { kind ->
        val points = fields.fields(kind)
        (listOf("default") + points.rest.keys.filter { it != "default" }).associateWith { name ->
            if (!Regex("[a-z][a-z0-9_]{0,31}").matches(name)) throw wrong("thresholds.$kind", name, "names of a-z, 0-9 and _")
            val point = points.fields(name)
            val value = point.number("value", 0.0, 1.0)
            val set = if (point.isNull("set")) point.take("set") as String? else point.string("set")
            Threshold(value, set, point.string("rule")).also { point.end() }
        }
    }
    fields.end()
    return kinds
}

internal fun checkPrecision(fields: Fields) {
    fields.string("recipe")
    fields.strings("exceptions")
    val empty = if (fields.isNull("parity")) fields.take("parity") != null else fields.fields("parity").rest.isEmpty()
    fields.end()
    if (empty) throw wrong("precision.parity", "{}", "null, or what was measured")
}

internal fun takeRequires(fields: Fields, version: Long): OnnxRequires {
    // The only one of version 1, which does not name it.
    val runtimes = if (version == 2L) "coreml" else "onnxruntime|coreml"
    if (version != 1L && fields.string("runtime", Regex(runtimes)) == "coreml") {
        throw WrongRuntimeError(
            "a bundle for coreml; expected one for onnxruntime; likely made with --target coreml, for apps on " +
                "iPhone and Mac: export the checkpoint again without it",
        )
    }
    val opset = fields.integer("opset", 1, 1000)
    val oldest = fields.string("onnxruntime", Regex("""[0-9]{1,4}(\.[0-9]{1,4}){1,2}"""))
    fields.end()
    return OnnxRequires(opset, oldest)
}

/** Refuses a name that is not one plain component: nothing may point out of the folder. */
internal fun checkFileName(name: String) {
    if (FILE_NAME.matches(name)) return
    throw UnsafePathError(
        "file name ${shown(name)}; expected one plain name (A-Z a-z 0-9 . _ -, no folder, at most 128 characters); " +
            "likely a hostile or hand-made bundle",
    )
}

internal fun takeFiles(fields: Fields): Map<String, FileEntry> {
    val names = fields.rest.keys.toList()
    names.forEach(::checkFileName)
    // Some file systems ignore case: two such names would be one file there.
    if ((names + MANIFEST + RECORD).map { it.lowercase(Locale.ROOT) }.toSet().size != names.size + 2) {
        throw wrong("files", names, "names that differ in more than case, and not $MANIFEST or $RECORD")
    }
    if (!names.containsAll(REQUIRED_FILES)) throw wrong("files", names, "entries for $REQUIRED_FILES")
    return names.associateWith { name ->
        val item = fields.fields(name)
        FileEntry(item.integer("size", 0), item.string("sha256", Regex("[0-9a-f]{64}"))).also { item.end() }
    }
}
