package dev.harmguard.core.bundle

import java.math.BigInteger
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.nio.charset.CodingErrorAction

/** What was found and expected; never the text itself. */
internal class JsonError(message: String) : Exception(message)

/**
 * Strict, bounded JSON: a bundle's manifest, tokenizer, and the rows of JSONL files.
 *
 * Objects are maps in their order, lists are lists, and numbers `Long` (`BigInteger` beyond), or
 * `Double` where they have a point or an exponent. Duplicate keys, NaN and infinities are refused.
 */
internal object StrictJson {
    const val MAX_DEPTH = 16

    /** The value in [data]; JsonError for what is refused. */
    fun parse(data: ByteArray, maxBytes: Int = Int.MAX_VALUE, maxDepth: Int = MAX_DEPTH): Any? {
        if (data.size > maxBytes) throw JsonError("${data.size} bytes; expected at most $maxBytes")
        return JsonReader(utf8(data), maxDepth).document()
    }

    /** Bytes as text; JsonError if they are not UTF-8. */
    fun utf8(data: ByteArray, start: Int = 0, end: Int = data.size): String {
        val decoder = Charsets.UTF_8.newDecoder()
            .onMalformedInput(CodingErrorAction.REPORT)
            .onUnmappableCharacter(CodingErrorAction.REPORT)
        try {
            return decoder.decode(ByteBuffer.wrap(data, start, end - start)).toString()
        } catch (_: CharacterCodingException) {
            throw JsonError("a byte that is not UTF-8; expected JSON in UTF-8")
        }
    }

    /** Whether [text] is valid Unicode without control characters: safe to print. */
    fun isPlainText(text: String): Boolean {
        var at = 0
        while (at < text.length) {
            val c = text.codePointAt(at)
            if (c < 0x20 || c in 0x7F..0x9F || c in 0xD800..0xDFFF) return false
            at += Character.charCount(c)
        }
        return true
    }
}

/** Reads one document; [member] may be overridden to read a member's value in another way. */
internal open class JsonReader(private val text: String, private val maxDepth: Int) {
    private var at = 0

    fun document(): Any? {
        val found = value("", 0)
        if (peek() != '\u0000' || at < text.length) fail("the end")
        return found
    }

    /** The value of [key] in the object of the name [owner], which is [depth] levels deep. */
    protected open fun member(owner: String, key: String, depth: Int): Any? = value(key, depth)

    protected fun value(key: String, depth: Int): Any? = when (peek()) {
        '{' -> {
            val found = LinkedHashMap<String, Any?>()
            members(depth + 1) { name ->
                if (found.containsKey(name)) {
                    throw JsonError("an object holds the same key twice; expected each key once")
                }
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
    protected fun members(depth: Int, each: (String) -> Unit) = items(depth, '{', '}') {
        if (peek() != '"') fail("a key")
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
        while (at < text.length) {
            val c = text[at]
            if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return c
            at++
        }
        return '\u0000'
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

    protected fun string(): String {
        val start = ++at
        while (at < text.length) {
            val c = text[at]
            if (c == '"') return text.substring(start, at++)
            if (c == '\\') return escaped(StringBuilder().append(text, start, at))
            if (c < ' ') break
            at++
        }
        fail("a string")
    }

    private fun escaped(out: StringBuilder): String {
        while (at < text.length) {
            val c = text[at++]
            if (c == '"') return out.toString()
            if (c < ' ') break
            if (c != '\\') {
                out.append(c)
                continue
            }
            val kind = if (at < text.length) text[at++] else break
            val place = ESCAPES.indexOf(kind)
            when {
                place >= 0 -> out.append(ESCAPED[place])
                kind == 'u' -> out.append(hex4())
                else -> fail("an escape")
            }
        }
        fail("a string")
    }

    private fun hex4(): Char {
        var value = 0
        repeat(4) {
            val digit = if (at < text.length) HEX.indexOf(text[at++].lowercaseChar()) else -1
            if (digit < 0) fail("four hexadecimal digits")
            value = value shl 4 or digit
        }
        return value.toChar()
    }

    private fun number(): Any {
        val digits = numberText()
        if (digits.all { it == '-' || it in '0'..'9' }) {
            // Readers in other languages have 64 bits, and long ones take quadratic time.
            if (digits.length > 20) throw JsonError("holds a number of ${digits.length} digits; expected at most 20")
            return digits.toLongOrNull() ?: BigInteger(digits)
        }
        val value = digits.toDouble()
        if (value.isInfinite()) throw JsonError("holds a number beyond the range of a double; expected finite numbers")
        return value
    }

    protected fun numberText(): String {
        peek()
        val start = at
        if (at < text.length && text[at] == '-') at++
        if (at < text.length && text[at] == '0') at++ else digits()
        if (at < text.length && text[at] == '.') {
            at++
            digits()
        }
        if (at < text.length && (text[at] == 'e' || text[at] == 'E')) {
            at++
            if (at < text.length && (text[at] == '+' || text[at] == '-')) at++
            digits()
        }
        return text.substring(start, at)
    }

    private fun digits() {
        val start = at
        while (at < text.length && text[at] in '0'..'9') at++
        if (at == start) fail("a value")
    }

    protected fun fail(expected: String): Nothing =
        throw JsonError("not JSON at character ${text.codePointCount(0, minOf(at, text.length))} ($expected missing)")

    private companion object {
        const val ESCAPES = "\"\\/bfnrt"
        const val ESCAPED = "\"\\/\b\u000C\n\r\t"
        const val HEX = "0123456789abcdef"
    }
}
