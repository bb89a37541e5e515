package dev.harmguard.core.bundle

import java.math.BigInteger
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.util.regex.Pattern

/** What was found and expected; never the text itself. */
internal class JsonError(message: String) : Exception(message)

/** Strict, bounded JSON: a bundle's manifest, tokenizer, and the rows of JSONL files. */
internal object StrictJson {
    const val MAX_DEPTH = 16

    /**
     * The value in [data]: maps in their order, lists, and numbers as `Long` (`BigInteger` beyond),
     * or `Double` where they have a point or an exponent. JsonError for duplicate keys and what is no JSON.
     */
    fun parse(data: ByteArray, maxBytes: Int = Int.MAX_VALUE, maxDepth: Int = MAX_DEPTH): Any? {
        if (data.size > maxBytes) throw JsonError("${data.size} bytes; expected at most $maxBytes")
        return JsonReader(utf8(data), maxDepth).document()
    }

    fun utf8(data: ByteArray, start: Int = 0, end: Int = data.size): String =
        try {
            // A new decoder reports what is malformed.
            Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data, start, end - start)).toString()
        } catch (_: CharacterCodingException) {
            throw JsonError("a byte that is not UTF-8; expected UTF-8")
        }

    /** Whether [text] is valid Unicode without control characters: safe to print. */
    fun isPlainText(text: String): Boolean = !NOT_PLAIN.containsMatchIn(text)

    fun isUnicode(text: String): Boolean = text.none { it.isSurrogate() } || !LONE.containsMatchIn(text)

    private val LONE = Regex("[\\ud800-\\udfff]")
    private val NOT_PLAIN = Regex("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
}

/** Reads one document; [member] may be overridden to read a member's value in another way. */
internal open class JsonReader(private val text: String, private val maxDepth: Int) {
    private val number = NUMBER.matcher(text)
    private var at = 0

    fun document(): Any? {
        val found = value("", 0)
        peek()
        if (at < text.length) fail("the end")
        return found
    }

    /** The value of [key] in the object of the name [owner], which is [depth] levels deep. */
    protected open fun member(owner: String, key: String, depth: Int): Any? = value(key, depth)

    private fun value(key: String, depth: Int): Any? =
        when (peek()) {
            '{' -> {
                val found = LinkedHashMap<String, Any?>()
                members(depth + 1) { name ->
                    if (name in found) throw JsonError("an object holds the same key twice; expected each key once")
                    found[name] = member(key, name, depth + 1)
                }
                found
            }
            '[' -> ArrayList<Any?>().also { found -> items(depth + 1) { found.add(value(key, depth + 1)) } }
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number()
        }

    /** Reads an object; [each] is given every key and reads its value. */
    protected fun members(depth: Int, each: (String) -> Unit) =
        items(depth, '{', '}') {
            val name = string()
            expect(':')
            each(name)
        }

    /** Reads a list; [each] reads one item. */
    protected fun items(depth: Int, open: Char = '[', close: Char = ']', each: () -> Unit) {
        if (depth > maxDepth) throw JsonError("nested too deeply; expected at most $maxDepth levels")
        expect(open)
        if (peek() != close) {
            each()
            while (peek() == ',') {
                at++
                each()
            }
        }
        expect(close)
    }

    protected fun peek(): Char {
        while (at < text.length && text[at] in " \n\r\t") at++
        return if (at < text.length) text[at] else '\u0000'
    }

    protected fun expect(c: Char) {
        if (peek() != c) fail("'$c'")
        at++
    }

    private fun <T> word(word: String, value: T): T {
        if (!text.startsWith(word, at)) fail("a value")
        at += word.length
        return value
    }

    protected open fun string(): String {
        expect('"')
        var start = at
        var out: StringBuilder? = null
        while (at < text.length) {
            val c = text[at++]
            if (c == '"') return out?.append(text, start, at - 1)?.toString() ?: text.substring(start, at - 1)
            if (c < ' ') break
            if (c == '\\') {
                out = (out ?: StringBuilder()).append(text, start, at - 1).append(escape())
                start = at
            }
        }
        fail("a string")
    }

    private fun escape(): Char {
        val kind = if (at < text.length) text[at++] else '\u0000'
        val place = "\"\\/bfnrt".indexOf(kind)
        if (place >= 0) return "\"\\/\b\u000C\n\r\t"[place]
        val digits = text.substring(at, minOf(at + 4, text.length))
        if (kind != 'u' || digits.length < 4 || !digits.all { it in "0123456789abcdefABCDEF" }) fail("an escape")
        at += 4
        return digits.toInt(16).toChar()
    }

    private fun number(): Any {
        val digits = numberText()
        if (digits.any { it in ".eE" }) {
            return digits.toDouble().takeIf { !it.isInfinite() } ?: throw JsonError("holds a number beyond the range of a double")
        }
        // Readers in other languages have 64 bits, and long ones take quadratic time.
        if (digits.length > 20) throw JsonError("holds a number of ${digits.length} digits; expected at most 20")
        return digits.toLongOrNull() ?: BigInteger(digits)
    }

    protected fun numberText(): String {
        peek()
        if (!number.region(at, text.length).lookingAt()) fail("a value")
        at = number.end()
        return number.group()
    }

    private fun fail(expected: String): Nothing = throw JsonError("not JSON at $at ($expected missing)")

    private companion object {
        val NUMBER: Pattern = Pattern.compile("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")
    }
}
