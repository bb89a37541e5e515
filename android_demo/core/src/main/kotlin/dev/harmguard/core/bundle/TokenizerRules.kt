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
 * [pieces] of that with their [ids]; those of a Unigram are their places, and it has [scores].
 */
internal class TokenizerFile(val fields: Map<String, Any?>, val pieces: List<String>, val ids: IntArray, val scores: DoubleArray?) {
    /** The fields of the model, without those of the vocabulary. */
    val model: Map<String, Any?> get() = fields["model"].asObject().orEmpty()

    /** The added tokens, seven fields each. */
    val added: List<Map<String, Any?>> get() = (fields["added_tokens"] as? List<*>).orEmpty().mapNotNull { it.asObject() }

    val vocabulary: Map<String, Int> = HashMap<String, Int>(pieces.size * 2).apply { pieces.forEachIndexed { at, it -> put(it, ids[at]) } }

    /** Added token to id. The library numbers those that the vocabulary lacks itself, whatever the file says. */
    val addedIds: Map<String, Int> =
        LinkedHashMap<String, Int>().apply {
            var next = if (scores == null) vocabulary.size else pieces.size
            for (token in added) {
                val content = token["content"] as String
                next = maxOf(next, getOrPut(content) { vocabulary[content] ?: next } + 1)
            }
        }

    /** The id that the library gives a token. */
    fun id(token: String): Int? = addedIds[token] ?: vocabulary[token]
}

/**
 * Checks the bytes of a tokenizer.json, a program of a kind: patterns that never end, replacements
 * that double a text. What guards need is a short list of steps, each in proportion to the text.
 */
internal fun checkTokenizer(data: ByteArray): TokenizerFile {
    val (reader, value) =
        try {
            TokenizerReader(StrictJson.utf8(data)).let { it to it.document() }
        } catch (error: JsonError) {
            refuse("cannot be read (${error.message})", "the JSON file of a fast tokenizer", "damaged")
        }
    val fields = value.asObject()
    val ids = reader.ids
    if (fields == null || ids == null || !PARTS.containsAll(fields.keys) || (fields["version"] ?: "1.0") != "1.0") {
        refuse("cannot be read (other parts)", "the file of a fast tokenizer", "another format")
    }
    for (name in listOf("truncation", "padding")) {
        if (fields[name] != null) refuse("has $name set", "null, or text would be cut or padded", "copied from a checkpoint")
    }
    val steps = Steps()
    for (part in SEQUENCES.keys) fields[part]?.let { steps.check(it, part) }
    checkAdded(fields["added_tokens"])
    return TokenizerFile(fields, reader.pieces, ids, reader.scores).also(::checkModel)
}

/** Reads `model.vocab` into arrays: as objects it would be most of what a guard holds. */
private class TokenizerReader(text: String) : JsonReader(text, MAX_JSON_DEPTH) {
    val pieces = ArrayList<String>()
    var ids: IntArray? = null
    var scores: DoubleArray? = null

    override fun member(owner: String, key: String, depth: Int): Any? {
        if (depth != 2 || owner != "model" || key != "vocab") return super.member(owner, key, depth)
        val numbers = ArrayList<String>()
        val words = peek() == '{'
        if (words) {
            members(depth + 1) { name -> piece(name, numbers) }
        } else {
            items(depth + 1) {
                expect('[')
                val name = string()
                expect(',')
                piece(name, numbers)
                expect(']')
            }
            if ("" in pieces) refuseVocabulary()
            scores = DoubleArray(numbers.size) { numbers[it].takeIf(SCORE::matches)?.toDouble() ?: refuseVocabulary() }
        }
        ids = IntArray(numbers.size) { if (words) numbers[it].toIntOrNull()?.takeIf { id -> id >= 0 } ?: refuseVocabulary() else it }
        return null
    }

    override fun string(): String = super.string().also { if (!StrictJson.isUnicode(it)) throw JsonError("a lone surrogate") }

    private fun piece(name: String, numbers: MutableList<String>) {
        if (chars(name) > MAX_TOKEN_CHARS || pieces.size == MAX_TOKENS) refuseVocabulary()
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
        val kind = step?.get("type") as? String ?: ""
        val checks = STEPS.getValue(part)[kind]
        if (kind == "Sequence" && step?.keys == setOf("type", inner)) {
            for (each in step[inner] as? List<*> ?: listOf(null)) check(each, part, depth + 1)
        } else if (step == null || checks == null) {
            refuse("has ${shown(kind)} in $part", "one of ${STEPS.getValue(part).keys}, or a Sequence", "a step that may take for ever")
        } else {
            checkFields(step, checks, "$kind in $part")
            if (kind == "Replace" && !shortens(step)) {
                refuse("has a Replace in $part that lengthens text", "no more characters than what it replaces", "made to fill memory")
            }
        }
    }
}

private fun checkFields(found: Map<String, Any?>, checks: Map<String, Field>, what: String) {
    for (name in found.keys + checks.keys - "type") {
        val field = checks[name]
        if (if (name in found) field?.check?.invoke(found[name]) == true else field?.optional == true) continue
        refuse(
            "has a $what with ${shown(name)} set as it is",
            "fields of the format, texts of at most $MAX_TOKEN_CHARS characters, no patterns, nothing left out or drawn by lot",
            "made to take for ever, or of a newer release",
        )
    }
}

private fun checkAdded(tokens: Any?) {
    val checks = STEPS.getValue("added_tokens").getValue("token")
    val found = if (tokens == null) emptyList() else (tokens as? List<*> ?: listOf(null)).map { it.asObject() }
    for (token in found) {
        if (token?.keys != checks.keys) refuse("has an added token without its fields", "seven of them", "made by hand")
        checkFields(token, checks, "added token")
    }
    val total = found.sumOf { chars(it?.get("content") as String) }
    if (total > MAX_ADDED_CHARS) refuse("has added tokens of $total characters", "at most $MAX_ADDED_CHARS", "made to take long")
}

private fun checkModel(file: TokenizerFile) {
    val kind = file.model["type"] as? String ?: ""
    val checks = STEPS.getValue("model")[kind] ?: refuse("cannot be read (a model ${shown(kind)})", "a known one", "damaged")
    checkFields(file.model, checks, kind)
    if ((kind == "Unigram") != (file.scores != null)) refuse("cannot be read (a vocabulary of another model)", "its own", "damaged")
    val unknown = file.model["unk_token"]
    val unknownId = file.model["unk_id"] as Long? ?: Long.MAX_VALUE
    if ((unknown is String && unknown !in file.vocabulary) || (kind == "Unigram" && unknownId >= file.pieces.size)) {
        refuse("has no unknown token in the vocabulary", "one: the library stops at unknown text otherwise", "made by hand")
    }
}

internal fun refuse(found: String, expected: String, cause: String): Nothing =
    throw TokenizerError("tokenizer.json $found; expected $expected; likely $cause")

private fun refuseVocabulary(): Nothing =
    refuse(
        "has a vocabulary that no guard may have",
        "at most $MAX_TOKENS pieces of at most $MAX_TOKEN_CHARS characters, with ids or scores",
        "damaged, or made to fill memory",
    )

@Suppress("UNCHECKED_CAST")
internal fun Any?.asObject(): Map<String, Any?>? = this as? Map<String, Any?>

internal fun chars(text: String): Int = text.codePointCount(0, text.length)

// Checks of single values

private typealias Check = (Any?) -> Boolean

private class Field(val check: Check, val optional: Boolean)

private val SCORE = Regex("""-?[0-9]{1,9}(\.[0-9]{1,40})?([eE]-?[0-9]{1,2})?""")

/** The one pattern that is allowed: what converters of sentencepiece models write. */
private val SPACES = mapOf("Regex" to " {2,}")
private val id: Check = { it is Long && it in 0..Int.MAX_VALUE }
private val token: Check = { it is String && it.isNotEmpty() && chars(it) <= MAX_TOKEN_CHARS }
private val words: Check = { it is Map<*, *> && it.keys == setOf("String") && token(it["String"]) }
private val CHECKS: Map<String, Check> =
    mapOf(
        "none" to { it == null },
        "text" to { it is String },
        "flag" to { it is Boolean },
        "maybeFlag" to { it == null || it is Boolean },
        "id" to id,
        "token" to token,
        "maybeToken" to { it == null || token(it) },
        "behavior" to { it in setOf("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous") },
        "scheme" to { it in setOf("first", "never", "always") },
        "prefix" to { it is String && chars(it) <= 16 },
        "short" to { it == null || (it is String && chars(it) <= 16) },
        "letter" to { it is String && chars(it) == 1 },
        "words" to words,
        "pattern" to { it == SPACES || words(it) },
        "zero" to { it == null || (it is Number && it.toDouble() == 0.0) },
        "wordLimit" to { it is Long && it in 1..MAX_TOKEN_CHARS },
        "charsmap" to {
            checkCharsmap(it)
            true
        },
        "special" to { it is List<*> && it.size == 2 && token(it[0]) && id(it[1]) },
        "specials" to { it is Map<*, *> && it.size <= 16 && it.values.all(::isSpecial) },
        "single" to { isTemplate(it, listOf("A")) },
        "pair" to { isTemplate(it, listOf("A", "B")) },
        "merges" to { it is List<*> && it.size <= 2 * MAX_TOKENS && it.all(::isMerge) },
    )

private fun field(check: String) = Field(CHECKS.getValue(check.removeSuffix("?")), check.endsWith("?"))

private val TABLE = TOKENIZER_STEPS.trim('\n').split(Regex("\n(?! )")).map { it.split("\n ") }
private val STEPS: Map<String, Map<String, Map<String, Field>>> =
    TABLE.associate { lines ->
        lines[0].substringBefore(' ') to
            lines.drop(1).map { it.split(' ') }.associate { step ->
                step[0] to step.drop(1).associate { it.substringBefore(':') to field(it.substringAfter(':')) }
            }
    }
private val SEQUENCES = TABLE.map { it[0].split(' ') }.filter { it[1] != "-" }.associate { (part, inner) -> part to inner }
private val PARTS = STEPS.keys + setOf("version", "truncation", "padding")

private fun isSpecial(value: Any?): Boolean {
    val special = value as? Map<*, *>
    val (ids, tokens) = listOf("ids", "tokens").map { special?.get(it) as? List<*> ?: return false }
    return special?.keys == setOf("id", "ids", "tokens") && special["id"] is String && ids.size == tokens.size && ids.size <= 16 &&
        ids.all(id) &&
        tokens.all(token)
}

private fun isMerge(pair: Any?): Boolean =
    (pair is String && chars(pair) <= 2 * MAX_TOKEN_CHARS) || (pair is List<*> && pair.size == 2 && pair.all(token))

/** Whether a template has these texts, in this order, each once. */
private fun isTemplate(value: Any?, texts: List<String>): Boolean {
    val pieces = (value as? List<*> ?: return false).map { (it as? Map<*, *>)?.entries?.singleOrNull() }
    val right =
        pieces.all {
            val inner = it?.value as? Map<*, *>
            (it?.key == "Sequence" || it?.key == "SpecialToken") && inner?.keys == setOf("id", "type_id") &&
                id(inner["type_id"]) && inner["id"] is String
        }
    return right && pieces.size <= 16 && texts == pieces.filter { it?.key == "Sequence" }.map { (it?.value as Map<*, *>)["id"] }
}

/** Whether a replacement has no more characters than what it replaces. */
private fun shortens(step: Map<String, Any?>): Boolean {
    val given = step["pattern"] as? Map<*, *> ?: return false
    val made = step["content"] as? String ?: return false
    return chars(made) <= if (given == SPACES) 2 else chars(given["String"] as String)
}
