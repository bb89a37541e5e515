package dev.harmguard.core

import dev.harmguard.core.bundle.Bundle
import dev.harmguard.core.bundle.StrictJson
import dev.harmguard.core.bundle.asObject
import java.io.File

/** The files of the checkout that the tests read where they are. */
internal object Checkout {
    private val root = File(checkNotNull(System.getProperty("checkout")) { "-Dcheckout=FOLDER is missing" })
    private val golden = File(root, "tests/golden")
    val folders =
        mapOf(
            "mini" to File(root, "harmguard/models/mini"),
            "unigram" to File(golden, "unigram"),
            "multilingual" to File(root, "guards/multilingual"),
        )
    val bundles: Map<String, Bundle> by lazy { folders.mapValues { Bundle.open(it.value) } }
    val conformance: List<Map<String, Any?>> by lazy { jsonLines(File(golden, "conformance.jsonl")) }
    private val multilingual: List<Map<String, Any?>> by lazy { jsonLines(File(golden, "multilingual.jsonl")) }

    /** The vectors of a bundle. */
    fun vectors(name: String): List<Map<String, Any?>> = if (name == "multilingual") multilingual else conformance

    fun jsonLines(file: File): List<Map<String, Any?>> =
        file.readLines().map { checkNotNull(StrictJson.parse(it.toByteArray()).asObject()) }
}
