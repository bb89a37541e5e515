package dev.harmguard.core.bundle

import dev.harmguard.core.HarmGuardError
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** The folders that `python -m tests.attacks DIR` writes: refused here by the same names. */
class AttacksTest {
    private val folder = System.getProperty("attacks")?.let(::File)

    @Test
    fun `every attack is refused by the name that Python gives`() {
        assumeTrue(folder != null, "-Dattacks=DIR names the folders")
        val said = StrictJson.parse(File(folder, "errors.json").readBytes()).asObject()!!
        assertTrue(said.size >= 200)
        val found = said.mapValues { (name, _) -> refusal(File(folder, name)) }
        val different = said.filter { (name, value) ->
            value.asObject()!!["when"] == "load" && found[name] != value.asObject()!!["error"]
        }
        assertEquals(emptyMap(), different.mapValues { (name, value) -> "$value, here ${found[name]}" })
    }

    @Test
    fun `the bundle that they are made of is accepted`() {
        assumeTrue(folder != null, "-Dattacks=DIR names the folders")
        assertEquals(3, Bundle.open(File(folder, "accepted")).manifest.formatVersion)
    }

    private fun refusal(bundle: File): String? =
        try {
            Bundle.open(bundle)
            null
        } catch (error: HarmGuardError) {
            error.javaClass.simpleName
        }
}
