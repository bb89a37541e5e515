package dev.harmguard.core.bundle

import dev.harmguard.core.BundleError
import dev.harmguard.core.BundleFileError
import dev.harmguard.core.BundleNotFoundError
import dev.harmguard.core.GraphMismatchError
import dev.harmguard.core.TokenizerError
import dev.harmguard.core.UnsupportedVersionError
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.util.concurrent.TimeUnit

/** Smaller files are hashed at every load; larger ones once, by verify: see RECORD. */
private const val HASHED_AT_LOAD_BYTES = 64_000_000L
private const val MAX_DATA_BYTES = 16_000_000_000L
private const val README = "README.md"
private val MAX_BYTES = mapOf(
    "model.onnx" to Int.MAX_VALUE.toLong(),
    "tokenizer.json" to 64_000_000L,
    "golden.jsonl" to 64_000_000L,
    README to 1_000_000L,
)
private val KEPT = listOf("model.onnx", "tokenizer.json")

/** An input or output of a graph, as a session lists it; a free dimension is -1. */
internal class GraphValue(val name: String, val type: String, val shape: List<Long>)

private class Content(val identity: Identity, val data: ByteArray?)

/** A folder whose manifest and files passed every check of [open]. Mirrors harmguard/bundle/folder.py. */
public class Bundle private constructor(
    public val folder: File,
    public val manifest: Manifest,
    internal val tokenizer: TokenizerFile,
    private val weights: Set<String>,
    private val contents: Map<String, Content>,
) {
    /** The path of the graph; [checkUnchanged] says whether what a runtime opened there is what was checked. */
    public val graph: File get() = File(folder, "model.onnx")

    public val tokenizerJson: ByteArray get() = read("tokenizer.json")

    /** The bytes of a file that the manifest lists, those whose hash was checked. */
    public fun read(name: String): ByteArray {
        contents.getValue(name).data?.let { return it }
        val entry = manifest.files.getValue(name)
        val data = openRegular(folder, name) { file, _ -> readExactly(file, name, entry) }
        checkHash(name, entry, sha256(data))
        return data
    }

    /** BundleFileError if the graph or its weights are not the files that were checked any more. */
    public fun checkUnchanged() {
        for (name in weights + "model.onnx") checkUnchanged(folder, name, contents.getValue(name).identity)
    }

    public companion object {
        /**
         * Reads and checks a bundle: manifest, sizes, hashes, graph, tokenizer.
         *
         * Raises BundleNotFoundError, ManifestError, UnsupportedVersionError, BundleFileError,
         * UnsafePathError, UnsafeGraphError, GraphMismatchError, TokenizerError or WrongRuntimeError.
         */
        @JvmStatic
        public fun open(folder: File): Bundle = open(folder, readRecord(folder))

        /**
         * Opens a bundle with every file hashed, and records the large ones in the folder; with it whether
         * that could be written, null without large files.
         */
        internal fun openAndRecord(folder: File): Pair<Bundle, Boolean?> {
            val bundle = open(folder, emptyMap())
            val large = bundle.manifest.files.filterValues { it.size >= HASHED_AT_LOAD_BYTES }
            if (large.isEmpty()) return bundle to null
            val lines = large.map { (name, entry) ->
                recordOf(entry, bundle.contents.getValue(name).identity).entries.joinToString(", ", "  \"$name\": {", "}") { (key, value) ->
                    if (value is String) "\"$key\": \"$value\"" else "\"$key\": $value"
                }
            }
            return try {
                // A new name: one that is there may be a link.
                val part = File.createTempFile(".$RECORD", null, folder)
                part.writeText(lines.joinToString(",\n", "{\"files\": {\n", "\n}}\n"))
                bundle to part.renameTo(File(folder, RECORD))
            } catch (_: IOException) {
                bundle to false
            }
        }

        private fun open(folder: File, record: Map<String, Any?>): Bundle {
            if (!folder.isDirectory) {
                throw BundleNotFoundError(
                    "no folder at '${folder.name}'; expected a bundle's folder; likely a wrong path " +
                        "(a guard is never looked up by name or downloaded)",
                )
            }
            val bytes = try {
                openRegular(folder, MANIFEST) { file, _ -> readUpTo(file, MAX_MANIFEST_BYTES + 1) }
            } catch (error: BundleFileError) {
                if (MANIFEST in folder.list().orEmpty()) throw error
                throw BundleNotFoundError(
                    "'${folder.name}' holds no $MANIFEST; expected it beside the model; likely an unfinished copy, " +
                        "or a checkpoint: `harmguard export` makes a bundle of one",
                )
            }
            val manifest = Manifest.fromBytes(bytes)
            val files = manifest.files
            for ((name, entry) in files) checkSize(name, entry)
            val contents = HashMap<String, Content>()
            for (name in KEPT) contents[name] = checkContent(folder, name, files.getValue(name), record[name], keep = true)
            val known = REQUIRED_FILES + README
            val sizes = files.filterKeys { it !in known }.mapValues { it.value.size }
            val input = manifest.input
            val weights = checkGraphFile(contents.data("model.onnx"), sizes, manifest.requires.opset, input.maxTokens)
            val unused = (sizes.keys - weights).sorted()
            if (unused.isNotEmpty()) throw wrong("files", unused, "the files of the format, $README, and what the graph uses")
            val tokenizer = checkTokenizer(contents.data("tokenizer.json"))
            for ((name, entry) in files) {
                if (name !in KEPT) contents[name] = checkContent(folder, name, entry, record[name], keep = false)
            }
            for (piece in input.template.prompt + input.template.exchange) {
                val token = piece.token ?: continue
                if (tokenizer.id(token) != piece.id) {
                    throw TokenizerError(
                        "tokenizer.json gives ${shown(token)} the id ${tokenizer.id(token)}; expected ${piece.id} as the " +
                            "template says; likely another model's tokenizer",
                    )
                }
            }
            return Bundle(folder, manifest, tokenizer, weights, contents)
        }
    }
}

private fun Map<String, Content>.data(name: String): ByteArray = checkNotNull(getValue(name).data)

private fun checkSize(name: String, entry: FileEntry) {
    val limit = MAX_BYTES[name] ?: MAX_DATA_BYTES
    if (entry.size > limit) {
        throw BundleFileError(
            "$name has ${entry.size} bytes, says the manifest; expected at most $limit; likely a hostile or hand-made bundle",
        )
    }
}

/** Checks size and hash of one file, unless it is large and the [record] of verify is that of the file on disk. */
private fun checkContent(folder: File, name: String, entry: FileEntry, record: Any?, keep: Boolean): Content =
    openRegular(folder, name) { file, found ->
        if (found.size != entry.size) {
            throw BundleFileError(
                "$name has ${found.size} bytes; expected ${entry.size}; likely a truncated download, an altered file, " +
                    "or a git-lfs pointer in place of the file: run `git lfs pull`",
            )
        }
        val trusted = entry.size >= HASHED_AT_LOAD_BYTES && record == recordOf(entry, found)
        val data = if (keep) readExactly(file, name, entry) else null
        if (!trusted) checkHash(name, entry, if (data == null) hashExactly(file, name, entry.size) else sha256(data))
        Content(found, data)
    }

private fun recordOf(entry: FileEntry, found: Identity): Map<String, Any?> =
    mapOf("size" to entry.size, "mtime_ns" to found.modified.to(TimeUnit.NANOSECONDS), "sha256" to entry.sha256)

private fun readExactly(file: InputStream, name: String, entry: FileEntry): ByteArray {
    val data = try {
        readUpTo(file, entry.size.coerceAtMost(Int.MAX_VALUE.toLong()).toInt())
    } catch (_: OutOfMemoryError) {
        throw BundleFileError("$name has ${entry.size} bytes; expected what fits memory; likely a hostile bundle")
    }
    if (data.size.toLong() != entry.size || file.read() >= 0) throw changed(name)
    return data
}

private fun checkHash(name: String, entry: FileEntry, found: String) {
    if (found != entry.sha256) {
        throw BundleFileError(
            "$name has sha256 ${found.take(12)}...; expected ${entry.sha256.take(12)}...; " +
                "likely a damaged download or a file changed after the bundle was written",
        )
    }
}

/** What verify recorded about large files; an unreadable record only costs the hashing. */
private fun readRecord(folder: File): Map<String, Any?> = try {
    val data = openRegular(folder, RECORD) { file, _ -> readUpTo(file, MAX_MANIFEST_BYTES + 1) }
    StrictJson.parse(data, MAX_MANIFEST_BYTES).asObject()?.get("files").asObject().orEmpty()
} catch (_: JsonError) {
    emptyMap()
} catch (_: BundleError) {
    emptyMap()
}

/** Compares what a session lists with the manifest: names, int64 [batch, length], float32 [batch, labels]. */
internal fun checkGraph(inputs: List<GraphValue>, outputs: List<GraphValue>, manifest: Manifest) {
    fun mismatch(what: String, found: Any?, expected: Any?): Nothing = throw GraphMismatchError(
        "model.onnx: $what ${shown(found)}; expected ${shown(expected)} as $MANIFEST says; likely a model file of another bundle",
    )
    val names = inputs.map { it.name }
    if (names.sorted() != manifest.input.names.sorted()) mismatch("inputs are named", names, manifest.input.names)
    for (value in inputs) {
        if (value.type != "INT64") mismatch("input ${value.name} is", value.type, "INT64")
        if (value.shape != listOf(-1L, -1L)) mismatch("input ${value.name} has shape", value.shape, "[batch, length], both free")
    }
    val output = outputs.find { it.name == "logits" } ?: mismatch("outputs are named", outputs.map { it.name }, "logits")
    if (output.type != "FLOAT") mismatch("output logits is", output.type, "FLOAT")
    if (output.shape.size != 2 || output.shape[1] != 2L) mismatch("output logits has shape", output.shape, "[batch, 2]")
}

/** UnsupportedVersionError if the ONNX Runtime that is [installed] is older than the bundle needs. */
internal fun checkRuntime(installed: String, requires: OnnxRequires) {
    fun key(version: String) = version.split(".").let { it[0].toInt() * 10_000 + it[1].filter(Char::isDigit).toInt() }
    if (key(installed) < key(requires.onnxruntime)) {
        throw UnsupportedVersionError(
            "onnxruntime $installed is here; expected ${requires.onnxruntime} or newer; likely an old version of the library",
        )
    }
}
