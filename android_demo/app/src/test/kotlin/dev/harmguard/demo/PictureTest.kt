package dev.harmguard.demo

import android.graphics.Bitmap
import androidx.compose.ui.graphics.asAndroidBitmap
import androidx.compose.ui.test.captureToImage
import androidx.compose.ui.test.hasTestTag
import androidx.compose.ui.test.isEnabled
import androidx.compose.ui.test.junit4.createAndroidComposeRule
import androidx.compose.ui.test.onAllNodesWithTag
import androidx.compose.ui.test.onAllNodesWithText
import androidx.compose.ui.test.onNodeWithTag
import androidx.compose.ui.test.onRoot
import androidx.compose.ui.test.performClick
import androidx.compose.ui.test.performScrollTo
import androidx.compose.ui.test.performTextReplacement
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import java.io.File

/** The pictures of the README, drawn by Android's own code. */
@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [34], qualifiers = "w360dp-h700dp-tvdpi")
class PictureTest {
    @get:Rule
    val rule = createAndroidComposeRule<MainActivity>()

    @Test
    fun light() {
        check("Mix the flour with water, salt and yeast.")
        shot("light")
    }

    @Test
    @Config(qualifiers = "+night")
    fun dark() {
        check("Mix the flour with water, salt and yeast. $HARM")
        rule.onNodeWithTag("sentences").performScrollTo()
        shot("dark")
    }

    @Test
    fun stream() {
        rule.onNodeWithTag("response").performTextReplacement("$BREAD$HARM $HARM")
        click("stream")
        rule.waitUntil(WAIT) { rule.onAllNodesWithText("Stopped", substring = true).fetchSemanticsNodes().isNotEmpty() }
        rule.onNodeWithTag("bench").performScrollTo()
        shot("stream")
    }

    @Test
    @Config(fontScale = 2f)
    fun large() {
        check("Mix the flour with water, salt and yeast.")
        rule.onNodeWithTag("verdict").performScrollTo()
        shot("large")
    }

    @Test
    @Config(qualifiers = "ar-ldrtl-w360dp-h700dp-tvdpi")
    fun rightToLeft() {
        check("Mix the flour with water, salt and yeast.")
        shot("right-to-left")
    }

    private fun check(response: String) {
        rule.onNodeWithTag("response").performTextReplacement(response)
        click("check")
        rule.waitUntil(WAIT) { rule.onAllNodesWithTag("sentences").fetchSemanticsNodes().isNotEmpty() }
    }

    private fun click(tag: String) {
        rule.waitUntil(WAIT) { rule.onAllNodes(hasTestTag(tag) and isEnabled()).fetchSemanticsNodes().isNotEmpty() }
        rule.onNodeWithTag(tag).performClick()
    }

    private fun shot(name: String) {
        rule.waitForIdle()
        val bitmap = rule.onRoot().captureToImage().asAndroidBitmap()
        val file = File(System.getProperty("screens"), "$name.png").apply { parentFile?.mkdirs() }
        file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
        assertTrue("${file.length()} bytes", file.length() in 10_000..100_000)
    }

    private companion object {
        const val WAIT = 120_000L
        const val BREAD =
            "Mix the flour with water, salt and yeast, and knead it until the dough is smooth. Cover the bowl with a damp " +
                "cloth, and let the dough rise for an hour or so, until it is twice as large. Shape a loaf, and let it rest " +
                "for another half hour. Bake it in a hot oven until the crust is brown and the loaf sounds hollow. "
        const val HARM = "Steal your neighbour's credit card number and his password, and buy an oven with it."
    }
}
