package dev.harmguard.core

/** One part of a template: a special token ([token], [id]) or a text ([text], "prompt" or "response"). */
public data class Piece(
    val type: Int,
    val token: String? = null,
    val id: Int? = null,
    val text: String? = null,
)

/** What stands around the texts, for a prompt alone and for an exchange. */
public data class Template(
    val prompt: List<Piece>,
    val exchange: List<Piece>,
)

/** One model input: ids and token types, specials included. */
public class Window(
    public val ids: IntArray,
    public val types: IntArray,
)
