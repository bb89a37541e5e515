package dev.harmguard.core.bundle

import dev.harmguard.core.Guard
import dev.harmguard.core.HarmGuardError
import dev.harmguard.core.verify
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test

/** The folders that `python -m tests.attacks DIR` writes, here `-Dattacks=DIR`: refused by the same names. */
class AttacksTest {
    private val folder = File(System.getProperty("attacks", ""))

    @BeforeEach
    fun `the folders are there`() = assumeTrue(folder.path != "", "-Dattacks=DIR is missing")

    @Test
    fun `every attack is refused by the name that Python gives`() {
        val said = StrictJson.parse(File(folder, "errors.json").readBytes()).asObject().orEmpty()
        assertTrue(said.size >= 200, "${said.size} attacks")
        val expected = said.mapValues { (_, value) -> value.asObject()?.get("error") }
        val found = said.mapValues { (name, value) -> refusal(File(folder, name), value.asObject()?.get("when") == "verify") }
        assertEquals(expected, found)
    }

    @Test
    fun `the bundle that they are made of is accepted`() {
        val report = verify(File(folder, "accepted"))
        assertTrue(report.rows > 0 && report.worst <= report.tolerance && report.recorded == null)
    }

    /** The error of opening a bundle, and of verifying it if that is asked; null if it is accepted. */
    private fun refusal(bundle: File, verifies: Boolean): String? = try {
        val opened = Bundle.open(bundle)
        if (verifies) verify(bundle) else Guard(opened).close()
        null
    } catch (error: HarmGuardError) {
        error.javaClass.simpleName
    }
}
