package dev.harmguard.core.views

// Placeholder of the contract: the views replace this file.

/** The views of a text: as it is, cleaned of what hides it, decoded, and what was hidden alone. */
public enum class ViewName {
    TEXT,
    CLEANED,
    DECODED,
    PAYLOAD,
    ;

    /** As Python writes it. */
    override fun toString(): String = name.lowercase()
}

/** One reading of a text. */
public data class View(
    val name: ViewName,
    val text: String,
)

/** One reading of a prompt and its response (null in a prompt alone). */
public data class PairView(
    val name: ViewName,
    val prompt: String,
    val response: String?,
)

/** One to three views of a prompt, or of an exchange: both sides in the same view. */
public fun viewsOfPair(
    prompt: String,
    response: String?,
): List<PairView> = listOf(PairView(ViewName.TEXT, prompt, response))

/** The text cleaned and decoded: the last of its views that leaves nothing out. */
public fun inPlace(text: String): String = text
