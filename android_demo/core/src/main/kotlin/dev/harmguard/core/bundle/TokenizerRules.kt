package dev.harmguard.core.bundle

import dev.harmguard.core.TokenizerError

internal const val MAX_TOKEN_CHARS = 1000
private const val MAX_STEPS = 32
private const val MAX_TOKENS = 1_000_000
private const val MAX_ADDED_CHARS = 100_000
private const val MAX_DEPTH = 8
private const val MAX_JSON_DEPTH = 64

/**
 * A tokenizer.json that passed [checkTokenizer]: its [fields] without the vocabulary, and the
 * [pieces] of that, whose [ids] are given, or their places where [scores] are (Unigram).
 */
internal class TokenizerFile(
    val fields: Map<String, Any?>,
    val pieces: List<String>,
    val ids: IntArray,
    val scores: DoubleArray?,
) {
    /** The fields of the model, "vocab" left out. */
    val model: Map<String, Any?> get() = fields["model"].asObject() ?: emptyMap()

    /** The added tokens, seven fields each. */
    val added: List<Map<String, Any?>> get() = (fields["added_tokens"] as? List<*>).orEmpty().mapNotNull { it.asObject() }

    /** Piece to id, made once. */
    val vocabulary: Map<String, Int> by lazy {
        val found = HashMap<String, Int>(pieces.size * 2)
        pieces.forEachIndexed { at, piece -> found[piece] = ids[at] }
        found
    }

    /** Added token to id. The library numbers those that the vocabulary lacks, whatever the file says. */
    val addedIds: Map<String, Int> by lazy {
        val found = LinkedHashMap<String, Int>()
        var next = if (scores == null) vocabulary.size else pieces.size
        for (token in added) {
            val content = token["content"] as String
            val id = found.getOrPut(content) { vocabulary[content] ?: next }
            next = maxOf(next, id + 1)
        }
        found
    }

    /** The id that the library gives a token. */
    fun id(token: String): Int? = addedIds[token] ?: vocabulary[token]
}

/**
 * Checks the bytes of a tokenizer.json, a program of a kind: patterns that never end, replacements
 * that double a text. What guards need is a short list of steps, each in proportion to the text.
 */
internal fun checkTokenizer(data: ByteArray): TokenizerFile {
    val reader: TokenizerReader
    val value: Any?
    try {
        reader = TokenizerReader(StrictJson.utf8(data))
        value = reader.document()
    } catch (error: JsonError) {
        refuse("cannot be read (${error.message})", "the JSON file of a fast tokenizer", "damaged")
    }
    val fields = value.asObject()
    if (fields == null || !PARTS.containsAll(fields.keys) || "model" !in fields) {
        refuse("cannot be read (other parts)", "the file of a fast tokenizer", "another format")
    }
    for (name in listOf("truncation", "padding")) {
        if (fields[name] != null) {
            refuse("has $name set", "null, or text would be cut or padded silently", "copied from a checkpoint as it stands")
        }
    }
    val steps = Steps()
    for (part in STEPS.keys) fields[part]?.let { steps.check(it, part) }
    checkAdded(fields["added_tokens"])
    val ids = reader.ids ?: refuse("cannot be read (no vocabulary in the model)", "one", "damaged")
    val file = TokenizerFile(fields, reader.pieces, ids, reader.scores)
    checkModel(file)
    return file
}

/** Reads `model.vocab` into arrays: as objects it would be most of what a guard holds. */
private class TokenizerReader(text: String) : JsonReader(text, MAX_JSON_DEPTH) {
    val pieces = ArrayList<String>()
    var ids: IntArray? = null
    var scores: DoubleArray? = null

    override fun member(owner: String, key: String, depth: Int): Any? {
        if (depth != 2 || owner != "model" || key != "vocab") return super.member(owner, key, depth)
        val numbers = ArrayList<String>()
        if (peek() == '{') {
            members(depth + 1) { name -> piece(name, numbers) }
            ids = IntArray(numbers.size) { numbers[it].toIntOrNull()?.takeIf { id -> id >= 0 } ?: refuseVocabulary() }
        } else {
            items(depth + 1) {
                expect('[')
                val name = if (peek() == '"') string() else refuseVocabulary()
                if (name.isEmpty()) refuseVocabulary()
                expect(',')
                piece(name, numbers)
                if (peek() != ']') refuseVocabulary()
                expect(']')
            }
            ids = IntArray(numbers.size) { it }
            scores = DoubleArray(numbers.size) { numbers[it].takeIf(SCORE::matches)?.toDouble() ?: refuseVocabulary() }
        }
        return null
    }

    private fun piece(name: String, numbers: MutableList<String>) {
        if (name.length > MAX_TOKEN_CHARS && chars(name) > MAX_TOKEN_CHARS || pieces.size == MAX_TOKENS) refuseVocabulary()
        pieces.add(name)
        numbers.add(numberText())
    }
}

private class Steps {
    private var left = MAX_STEPS

    fun check(value: Any?, part: String, depth: Int = 0) {
        if (--left < 0 || depth > MAX_DEPTH) refuse("has more than $MAX_STEPS steps", "a few", "made to take for ever")
        val inner = SEQUENCES.getValue(part)
        val step = value.asObject()
        val kind = step?.get("type")
        val checks = STEPS.getValue(part)[kind as? String ?: ""]
        if (step != null && kind == "Sequence" && step.keys == setOf("type", inner)) {
            for (each in step[inner] as? List<*> ?: listOf(null)) check(each, part, depth + 1)
        } else if (step == null || checks == null) {
            refuse("has ${shown(kind)} in $part", "one of ${STEPS.getValue(part).keys.joinToString()}, or a Sequence",
                "a step that may take for ever, or one that is newer than this release")
        } else {
            checkFields(step, checks) {
                refuse("has $kind in $part with ${shown(it)} set as it is", "what takes time and memory in proportion to the text",
                    "a pattern, or a text that is left out")
            }
            if (kind == "Replace" && !shortens(step)) {
                refuse("has a Replace in $part that lengthens text", "no more characters than what it replaces", "made to fill memory")
            }
        }
    }
}

private inline fun checkFields(found: Map<String, Any?>, checks: Map<String, Check>, fail: (String) -> Nothing) {
    for ((name, value) in found) if (name != "type" && checks[name]?.invoke(value) != true) fail(name)
}

private fun checkAdded(tokens: Any?) {
    var total = 0
    for (value in tokens as? List<*> ?: if (tokens == null) emptyList() else listOf(null)) {
        val token = value.asObject()
        if (token == null || token.keys != ADDED.keys) refuse("has an added token without its fields", "seven of them", "made by hand")
        checkFields(token, ADDED) {
            refuse("has an added token whose $it is not valid", "a text of 1 to $MAX_TOKEN_CHARS characters, an id, and flags",
                "made to take long")
        }
        total += chars(token["content"] as String)
    }
    if (total > MAX_ADDED_CHARS) {
        refuse("has added tokens of $total characters", "at most $MAX_ADDED_CHARS together", "made to take long")
    }
}

private fun checkModel(file: TokenizerFile) {
    val model = file.model
    val kind = model["type"]
    val checks = MODELS[kind as? String ?: ""] ?: refuse("cannot be read (a model ${shown(kind)})", MODELS.keys.joinToString(), "damaged")
    checkFields(model, checks) {
        refuse("has a $kind whose ${shown(it)} is not what a guard may have",
            "no dropout, pieces of at most $MAX_TOKEN_CHARS characters, at most $MAX_TOKENS of them",
            "another field of a newer release, or made to take for ever")
    }
    val unknown = model["unk_token"]
    if ((kind == "Unigram") != (file.scores != null)) refuse("cannot be read (a vocabulary of another model)", "its own", "damaged")
    if (kind == "Unigram" && (model["unk_id"] as? Long ?: Long.MAX_VALUE) >= file.pieces.size) {
        refuse("has a Unigram without an unknown token", "one: there is no id for unknown text otherwise", "made by hand")
    }
    if (unknown is String && unknown !in file.vocabulary) {
        refuse("has no ${shown(unknown)}, its unknown token, in the vocabulary", "it", "made by hand")
    }
}

internal fun refuse(found: String, expected: String, cause: String): Nothing =
    throw TokenizerError("tokenizer.json $found; expected $expected; likely $cause")

private fun refuseVocabulary(): Nothing =
    refuse("has a vocabulary that no guard may have",
        "at most $MAX_TOKENS pieces of at most $MAX_TOKEN_CHARS characters, with ids or scores", "damaged, or made to fill memory")

@Suppress("UNCHECKED_CAST")
internal fun Any?.asObject(): Map<String, Any?>? = this as? Map<String, Any?>

internal fun chars(text: String): Int = text.codePointCount(0, text.length)

// Checks of single values

private typealias Check = (Any?) -> Boolean

private val SCORE = Regex("""-?[0-9]{1,9}(\.[0-9]{1,40})?([eE]-?[0-9]{1,2})?""")

/** The one pattern that is allowed: what converters of sentencepiece models write. */
private val SPACES = mapOf("Regex" to " {2,}")
private val text: Check = { it is String }
private val flag: Check = { it is Boolean }
private val maybeFlag: Check = { it == null || it is Boolean }
private val id: Check = { it is Long && it in 0..Int.MAX_VALUE }
private val token: Check = { it is String && it.isNotEmpty() && chars(it) <= MAX_TOKEN_CHARS }
private val short: Check = { it == null || (it is String && chars(it) <= 16) }
private val letter: Check = { it is String && chars(it) == 1 }
private val pattern: Check = { it == SPACES || splitPattern(it) }
private val splitPattern: Check = { it is Map<*, *> && it.keys == setOf("String") && token(it["String"]) }
private val special: Check = { it is List<*> && it.size == 2 && token(it[0]) && id(it[1]) }
private val specials: Check = { value ->
    value is Map<*, *> && value.size <= 16 && value.values.all {
        val (ids, tokens) = ((it as? Map<*, *>)?.get("ids") as? List<*>) to ((it as? Map<*, *>)?.get("tokens") as? List<*>)
        it is Map<*, *> && it.keys == setOf("id", "ids", "tokens") && ids != null && tokens != null &&
            ids.size == tokens.size && ids.size <= 16 && ids.all(id) && tokens.all(token)
    }
}
private val merges: Check = { value ->
    value is List<*> && value.size <= 2 * MAX_TOKENS && value.all {
        (it is String && chars(it) <= 2 * MAX_TOKEN_CHARS) || (it is List<*> && it.size == 2 && it.all(token))
    }
}

/** That a template has these texts, in this order, each once. */
private fun template(vararg texts: String): Check = { value ->
    val pieces = (value as? List<*>)?.map { (it as? Map<*, *>)?.entries?.singleOrNull() }
    pieces != null && pieces.size <= 16 &&
        pieces.all {
            val inner = it?.value as? Map<*, *>
            (it?.key == "Sequence" || it?.key == "SpecialToken") && inner?.keys == setOf("id", "type_id") && id(inner["type_id"])
        } &&
        pieces.filter { it?.key == "Sequence" }.map { (it?.value as Map<*, *>)["id"] } == texts.toList()
}

/** Whether a replacement has no more characters than what it replaces. */
private fun shortens(step: Map<String, Any?>): Boolean {
    val (given, made) = step["pattern"] as? Map<*, *> to step["content"] as? String
    if (given == null || made == null) return false
    return chars(made) <= if (given == SPACES) 2 else chars(given["String"] as String)
}

private fun all(check: Check, vararg names: String): Map<String, Check> = names.associateWith { check }

private fun bare(vararg kinds: String): Map<String, Map<String, Check>> = kinds.associateWith { emptyMap() }

private val BYTE_LEVEL = all(flag, "add_prefix_space", "trim_offsets", "use_regex")
private val METASPACE = all(letter, "replacement", "str_rep") + all(flag, "add_prefix_space", "split") + ("prepend_scheme" to text)
private val REPLACE = mapOf("pattern" to pattern, "content" to text)
private val ADDED = all(flag, "single_word", "lstrip", "rstrip", "normalized", "special") + mapOf("id" to id, "content" to token)
private val SEQUENCES = mapOf(
    "normalizer" to "normalizers", "pre_tokenizer" to "pretokenizers", "post_processor" to "processors", "decoder" to "decoders",
)
private val STEPS: Map<String, Map<String, Map<String, Check>>> = mapOf(
    "normalizer" to bare("StripAccents", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Nmt") + mapOf(
        "BertNormalizer" to all(flag, "clean_text", "handle_chinese_chars", "lowercase") + ("strip_accents" to maybeFlag),
        "Strip" to all(flag, "strip_left", "strip_right"),
        "Precompiled" to mapOf("precompiled_charsmap" to { value -> checkCharsmap(value); true }),
        "Replace" to REPLACE,
        "Prepend" to all(short, "prepend"),
    ),
    "pre_tokenizer" to bare("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts") + mapOf(
        "Punctuation" to all(text, "behavior"),
        "Digits" to all(flag, "individual_digits"),
        "CharDelimiterSplit" to all(letter, "delimiter"),
        "Split" to mapOf("pattern" to splitPattern, "behavior" to text, "invert" to flag),
        "ByteLevel" to BYTE_LEVEL,
        "Metaspace" to METASPACE,
    ),
    "post_processor" to mapOf(
        "TemplateProcessing" to mapOf("single" to template("A"), "pair" to template("A", "B"), "special_tokens" to specials),
        "BertProcessing" to all(special, "sep", "cls"),
        "RobertaProcessing" to all(special, "sep", "cls") + all(flag, "trim_offsets", "add_prefix_space"),
        "ByteLevel" to BYTE_LEVEL,
    ),
    "decoder" to bare("Fuse", "ByteFallback") + mapOf(
        "WordPiece" to mapOf("prefix" to short, "cleanup" to flag),
        "ByteLevel" to BYTE_LEVEL,
        "Metaspace" to METASPACE,
        "BPEDecoder" to all(short, "suffix"),
        "Strip" to mapOf("content" to letter, "start" to id, "stop" to id),
        "Replace" to REPLACE,
    ),
)
private val PARTS = STEPS.keys + setOf("version", "truncation", "padding", "added_tokens", "model")
private val VOCABULARY = mapOf<String, Check>("vocab" to { it == null })
private val MODELS: Map<String, Map<String, Check>> = mapOf(
    "WordPiece" to VOCABULARY + mapOf(
        "unk_token" to token,
        "continuing_subword_prefix" to short,
        "max_input_chars_per_word" to { it is Long && it in 1..MAX_TOKEN_CHARS },
    ),
    "BPE" to VOCABULARY + all(short, "continuing_subword_prefix", "end_of_word_suffix") +
        all(flag, "fuse_unk", "byte_fallback", "ignore_merges") + mapOf(
            "dropout" to { it == null || (it is Number && it.toDouble() == 0.0) },
            "unk_token" to { it == null || token(it) },
            "merges" to merges,
        ),
    "WordLevel" to VOCABULARY + all(token, "unk_token"),
    "Unigram" to VOCABULARY + mapOf("unk_id" to id, "byte_fallback" to flag),
)
