package dev.harmguard.core.views

import java.util.Base64

// Text behind escapes and codes: each decoder gives a text back, the same one if it does not fire. `unescaped` undoes
// what is exact, so it always fires. What `fromCodes` and `fromWords` make must read like words. Every place is decoded
// once.

private val ESCAPES = Pattern(
    """(?P<percent>(?:%[0-9A-Fa-f]{2})+)""" +
        """|(?P<quoted>(?:=[0-9A-F]{2}){2,})""" +
        """|(?P<utf16>(?:(?:\\u|%u)[0-9A-Fa-f]{4})+)""" +
        """|(?P<octal>(?:\\[0-3][0-7]{2})+)""" +
        """|(?P<bytes>(?:\\x[0-9A-Fa-f]{2})+)""" +
        """|(?:\\[ux]\{|\\U00|[Uu]\+|&#[xX])0{0,5}(?P<hex>[0-9A-Fa-f]{1,6})(?:\}|;|\b)""" +
        """|&#0{0,5}(?P<decimal>[0-9]{1,7})(?:;|\b)""" +
        """|&(?P<styled>[A-Za-z])(?:fr|opf|scr);""" +
        """|&(?P<name>[A-Za-z]{2,8});""",
)
private const val SIGNS =
    "amp & lt < gt > quot \" apos ' sol / num # comma , period . quest ? excl ! colon : semi ; lowbar _ hyphen - dash - " +
        "lpar ( rpar ) commat @ percnt % dollar $ ast * plus + equals = bsol \\ vert | inodot i"
private val NAMES: Map<String, String> =
    SIGNS.split(" ").chunked(2).associate { (name, sign) -> name to sign } +
        listOf("nbsp", "Tab", "ensp", "emsp", "thinsp").associateWith { " " } +
        listOf("shy", "zwnj", "zwj", "lrm", "rlm").associateWith { "" } + ("NewLine" to "\n")

/** Percent, quoted-printable, backslash and HTML escapes as the characters they stand for. */
internal fun unescaped(text: IntArray): IntArray = ESCAPES.sub(text, ::unescape)

/** Null where an escape stands for nothing, as below. */
private fun unescape(found: Found): String? {
    val body = found.body
    return when (val kind = found.kind) {
        "hex", "decimal" -> {
            val c = body.toInt(if (kind == "hex") 16 else 10)
            if (c > 0x10FFFF || c in 0xD800..0xDFFF) null else String(Character.toChars(c))
        }
        "name" -> NAMES[body]
        "styled" -> body
        "utf16" -> decoded(bytesOfHex(body), Charsets.UTF_16BE).ifEmpty { null }
        else -> {
            val raw = if (kind == "octal") body.drop(1).split("\\").map { it.toInt(8) } else bytesOfHex(body)
            decoded(raw, Charsets.UTF_8).ifEmpty { decoded(raw, Charsets.ISO_8859_1) }
        }
    }
}

private fun bytesOfHex(text: String): List<Int> = text.filter { Character.digit(it, 16) >= 0 }.chunked(2).map { it.toInt(16) }

/** The bytes as text, if they are text that reads like words; otherwise null. */
private fun readable(bytes: List<Int>): String? {
    var raw = bytes
    if (raw.size > 3) {
        val zeros = listOf(1, 0).firstOrNull { one -> raw.indices.all { it % 2 != one || raw[it] == 0 } }
        if (zeros != null) raw = raw.filterIndexed { at, _ -> at % 2 != zeros }
    }
    val text = decoded(raw, Charsets.UTF_8)
    val codes = text.codes()
    val sure = codes.size >= SURE && codes.count { isLetter(it) || isDigit(it) || it == ' '.code } * 10 >= codes.size * 8
    return if (text.isNotEmpty() && (sure || reads(codes))) text else null
}

/** Bytes that are all letters, digits and gaps by chance too seldom to matter. */
private const val SURE = 12

private val HEX =
    Pattern("(?<![A-Za-z0-9])(?:(?:0x|\\\\x|#|\\$)?[0-9A-Fa-f]{2}[ \t\r\n,:;_.-]{0,2}){4,}(?![A-Za-z0-9])")
private val HEX_NOISE = Pattern("""0x|\\x|[^0-9A-Fa-f]""")
private val BINARY = Pattern("(?<![0-9A-Za-z])[01]{7,8}(?:[ \t\r\n,_-]{0,2}[01]{7,8}){3,}(?![0-9A-Za-z])")
private val NUMBERS = Pattern("(?<![0-9A-Za-z.])[0-9]{1,3}(?:[ \t\r\n,;:/|_.-]{1,3}[0-9]{1,3}){3,}(?![0-9A-Za-z])")
private val NUMBER = Pattern("[0-9]+")
private val RUN = Pattern("[A-Za-z0-9+/_-]{2,}={0,2}(?:[ \t\r\n]+[A-Za-z0-9+/_-]{2,}={0,2})*")
private val ODD = Pattern("[a-z][A-Z0-9]|[A-Z]{2}[a-z]|[0-9][A-Za-z]|=$|^[A-Z2-7]{2,}$|^[A-Z][A-Z0-9]")
private val SEPARATED = Pattern("[ \t\r\n]+")
private val SOME_ODD = Pattern("[a-z][A-Z0-9]|[A-Z]{2}[a-z]|[0-9][A-Za-z]|[A-Z][A-Z0-9]{7}")

/** Hexadecimal, binary, decimal and octal numbers, base64 and base32, as text. */
internal fun fromCodes(given: IntArray): IntArray {
    var text = given
    if (text.any(::isDigit)) text = NUMBERS.sub(HEX.sub(BINARY.sub(text, ::fromBinary), ::fromHex), ::fromNumbers)
    return if (SOME_ODD.isIn(text)) RUN.sub(text, ::fromBase) else text
}

private fun fromHex(found: Found): String? {
    val digits = HEX_NOISE.sub(found.group.codes()) { "" }.text()
    return if (digits.length % 2 == 1) null else readable(bytesOfHex(digits))
}

private fun fromBinary(found: Found): String? =
    bytesOfBits(found.group.filter { it in "01" }) { it == '1' }.firstNotNullOfOrNull(::readable)

private fun fromNumbers(found: Found): String? {
    val codes = found.group.codes()
    val numbers = NUMBER.all(codes).map { it.group }
    val gaps = NUMBER.split(codes).drop(1).dropLast(1).map { it.text() }
    val octal = numbers.none { '8' in it || '9' in it }
    for (values in listOfNotNull(numbers.map { it.toInt() }, if (octal) numbers.map { it.toInt(8) } else null)) {
        val spelt = when {
            values.min() >= 1 && values.max() <= 26 -> spelt(values.map { ('a' + it - 1).toString() }, gaps)
            values.all { it == 9 || it == 10 || it == 13 || it in 32..126 } -> values.map { it.toChar() }.joinToString("")
            else -> continue
        }
        if (reads(spelt.codes())) return spelt
    }
    return null
}

/** Letters with a space wherever the gap between them is not the most frequent one. */
private fun spelt(letters: List<String>, gaps: List<String>): String {
    val inner = gaps.groupingBy { it }.eachCount().maxBy { it.value }.key
    return letters.withIndex().joinToString("") { (at, letter) -> if (at < gaps.size && gaps[at] != inner) "$letter " else letter }
}

/** Decode tokens of base64 or base32, alone or what several of them in a row make together. */
private fun fromBase(found: Found): String? {
    val codes = found.group.codes()
    val tokens = SEPARATED.split(codes)
    val gaps = SEPARATED.all(codes).map { it.group } + ""
    val odd = tokens.map(ODD::isIn)
    if (odd.none { it }) return null
    val out = StringBuilder()
    var index = 0
    while (index < odd.size) {
        var end = index
        while (end < odd.size && odd[end]) end++
        val read = if (end > index) baseText(tokens.subList(index, end).map { it.text() }) else null
        if (read != null) {
            out.append(" $read ").append(gaps[end - 1])
        } else {
            end = maxOf(end, index + 1)
            for (at in index until end) out.append(tokens[at].text()).append(gaps[at])
        }
        index = end
    }
    return out.toString()
}

/** What the tokens decode to together; otherwise one by one. */
private fun baseText(tokens: List<String>): String? {
    val whole = tokens.joinToString("")
    if (whole.length < 8) return null
    for (decode in listOf(::base64, ::base32)) {
        readable(decode(whole))?.let { return it }
        if (tokens.size == 1) continue
        val single = tokens.map(decode)
        if (single.all { it.isNotEmpty() }) {
            readable(single.flatMap { it + ' '.code }.dropLast(1))?.let { return it }
        }
        // Other words may stand before or after what is encoded.
        val longest = tokens.indices.maxBy { tokens[it].length }
        val read = if (tokens[longest].length >= 8) readable(decode(tokens[longest])) else null
        if (read != null) return tokens.indices.joinToString(" ") { if (it == longest) read else tokens[it] }
    }
    return null
}

private fun base64(token: String): List<Int> {
    val padded = token.trimEnd('=').replace('-', '+').replace('_', '/')
    val body = padded.dropLast(if (padded.length % 4 == 1) 1 else 0).trimEnd('=')
    return if ('=' in body || body.length % 4 == 1) emptyList() else Base64.getDecoder().decode(body).map { it.toInt() and 0xFF }
}

private fun base32(token: String): List<Int> {
    val body = token.trimEnd('=').uppercase()
    val values = body.map { if (it in 'A'..'Z') it - 'A' else if (it in '2'..'7') it - '2' + 26 else -1 }
    if (-1 in values || body.length % 8 !in listOf(0, 2, 4, 5, 7)) return emptyList()
    val bytes = ArrayList<Int>()
    var bits = 0
    for ((at, value) in values.withIndex()) {
        bits = (bits shl 5 or value) and 0xFFFF
        val left = (at + 1) * 5 % 8
        if (left < 5) bytes += bits shr left and 0xFF
    }
    return bytes
}

private val MORSE_LETTERS =
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..".split(" ")
private const val DOT_SIGNS = "[.\u00B7\u2022_\u2012-\u2015\u2212-]{1,6}"
private val MORSE = Pattern("(?<![^ \n])$DOT_SIGNS(?:[ \n/|]{1,5}$DOT_SIGNS){3,}(?![^ \n])")
private val MORSE_START = Pattern("[^A-Za-z0-9]{7}")
private val MORSE_GAP = Pattern("[ \n]*[/|][ \n]*|  +|\n")
private val BRAILLE_LETTERS =
    listOf(1, 3, 9, 25, 17, 11, 27, 19, 10, 26, 5, 7, 13, 29, 21, 15, 31, 23, 14, 30, 37, 39, 58, 45, 61, 53)
private val BRAILLE = Pattern("[\u2801-\u28FF]+(?:[ \n]+[\u2801-\u28FF]+)*")
private const val SPELLING =
    "(?:al[fp]h?a|bravo|charlie|delta|echo|foxtrot|golf|hotel|india|juliett?|kilo|lima|mike|november|oscar|papa|" +
        "quebec|romeo|sierra|tango|uniform|victor|whisk(?:e)?y|x-?ray|yankee|zulu)"
private val SPELT = Pattern("\\b$SPELLING(?:[ \n,./|-]{1,4}$SPELLING){3,}\\b", ignoreCase = true)
private val SPELT_GAP = Pattern("[ \n,./|]+|(?<![xX])-")
private val SPELT_OFTEN = listOf("echo", "tango", "alpha", "alfa", "oscar", "india", "november", "sierra", "hotel", "romeo")

/** Morse code, braille and the spelling alphabet, as letters. */
internal fun fromWords(given: IntArray): IntArray {
    var text = given
    if (MORSE_START.isIn(text)) text = MORSE.sub(text, ::fromMorse)
    if (!text.isAscii()) text = BRAILLE.sub(text, ::fromBraille)
    val low = if (text.isAscii()) lower(text.text()) else text.text()
    return if (SPELT_OFTEN.count { it in low } > 1) SPELT.sub(text, ::fromSpelling) else text
}

private fun fromMorse(found: Found): String? {
    val signs = found.group.codes()
    val dots = IntArray(signs.size) { at ->
        when (signs[at].toChar()) {
            '.', '\u00B7', '\u2022' -> '.'.code
            ' ', '\n', '/', '|' -> signs[at]
            else -> '-'.code
        }
    }
    val spelt = MORSE_GAP.split(dots).joinToString(" ") { word ->
        word.text().split(" ").filter { it.isNotEmpty() }.joinToString("") { code ->
            MORSE_LETTERS.indexOf(code).let { if (it < 0) "?" else ('a' + it).toString() }
        }
    }
    return if (reads(spelt.codes())) spelt else null
}

private fun fromBraille(found: Found): String? {
    val spelt = found.group.map { c ->
        val letter = BRAILLE_LETTERS.indexOf(c.code - 0x2800)
        if (c in " \n") c else if (letter >= 0) 'a' + letter else if (c == '\u2820') ' ' else '?'
    }.joinToString("").replace("? ", " ")
    return if (reads(spelt.codes())) spelt else null
}

private fun fromSpelling(found: Found): String? {
    val codes = found.group.codes()
    val words = SPELT_GAP.split(codes).map { lower(it.text().take(1)) }
    val spelt = spelt(words, SPELT_GAP.all(codes).map { it.group })
    return if (reads(spelt.codes())) spelt else null
}
