package dev.harmguard.demo

import android.content.Intent
import android.content.pm.PackageManager
import androidx.compose.ui.semantics.SemanticsProperties
import androidx.compose.ui.semantics.getOrNull
import androidx.compose.ui.test.assertIsDisplayed
import androidx.compose.ui.test.assertTextContains
import androidx.compose.ui.test.getUnclippedBoundsInRoot
import androidx.compose.ui.test.hasClickAction
import androidx.compose.ui.test.hasScrollAction
import androidx.compose.ui.test.hasTestTag
import androidx.compose.ui.test.hasText
import androidx.compose.ui.test.isEnabled
import androidx.compose.ui.test.isHeading
import androidx.compose.ui.test.junit4.createAndroidComposeRule
import androidx.compose.ui.test.onAllNodesWithTag
import androidx.compose.ui.test.onAllNodesWithText
import androidx.compose.ui.test.onNodeWithTag
import androidx.compose.ui.test.onNodeWithText
import androidx.compose.ui.test.onRoot
import androidx.compose.ui.test.performClick
import androidx.compose.ui.test.performScrollTo
import androidx.compose.ui.test.performTextReplacement
import androidx.compose.ui.unit.dp
import androidx.compose.ui.unit.width
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import java.io.File

@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(qualifiers = "w411dp-h891dp-hdpi")
class ScreenTest {
    @get:Rule
    val rule = createAndroidComposeRule<MainActivity>()

    @Test
    fun `what is typed is scored`() {
        type("How do I bake bread?", "Mix flour, water, salt and yeast.")
        check()
        rule.onNodeWithText("Harmless").performScrollTo().assertIsDisplayed()
        val shown = rule.onAllNodes(hasText("0.04", substring = true)).fetchSemanticsNodes()
        assertEquals(1, shown.size)
        for (fact in listOf("0.5680", "text", "16", "0 %")) rule.onNode(hasText(fact)).assertExists()
        rule.onNodeWithText("No sentence is flagged.").performScrollTo().assertIsDisplayed()
        type("How do I bake bread?", BREAD + HARM)
        check()
        rule.onNodeWithText("Harmful").performScrollTo().assertIsDisplayed()
        rule.onNodeWithText("1. ${HARM.trim()}").performScrollTo().assertIsDisplayed()
    }

    @Test
    fun `an answer comes in and is held back`() {
        type("How do I bake bread?", BREAD + REST + HARM + HARM)
        click("stream")
        until { nodes("streamed").isNotEmpty() }
        until { rule.onAllNodesWithText("Stopped", substring = true).fetchSemanticsNodes().isNotEmpty() }
        assertEquals(1, rule.onAllNodesWithText("credit card", substring = true).fetchSemanticsNodes().size)
        rule.onNodeWithTag("released").assertTextContains("Mix the flour", substring = true)
        type("How do I bake bread?", BREAD + REST)
        click("stream")
        until { rule.onAllNodesWithText("Finished", substring = true).fetchSemanticsNodes().isNotEmpty() }
        rule.onNodeWithTag("released").assertTextContains(BREAD + REST)
    }

    @Test
    fun `what was typed and found is kept over rotation`() {
        type("Why is the sky blue?", "")
        check()
        RuntimeEnvironment.setQualifiers("+land")
        rule.activityRule.scenario.recreate()
        rule.onNodeWithTag("prompt").assertTextContains("Why is the sky blue?")
        rule.onNodeWithTag("verdict").performScrollTo().assertIsDisplayed()
    }

    @Test
    fun `a refused text is said in words`() {
        type("", "")
        click("check")
        until { nodes("failure").isNotEmpty() }
        rule.onNodeWithTag("failure").assertTextContains("prompt is empty", substring = true)
    }

    @Test
    @Config(qualifiers = "w320dp-h640dp-hdpi", fontScale = 2f)
    fun `fonts of twice the size are not cut`() {
        type("How do I bake bread?", "Mix flour, water, salt and yeast.")
        check()
        val root = rule.onRoot().getUnclippedBoundsInRoot()
        for (node in rule.onAllNodes(hasText("", substring = true)).fetchSemanticsNodes()) {
            val bounds = node.boundsInRoot
            assertTrue("$bounds", bounds.left >= 0 && bounds.right <= root.width.value * rule.density.density + 1)
        }
    }

    @Test
    fun `a screen reader finds labels, headings and places to touch`() {
        check()
        rule.onNodeWithTag("prompt").assertTextContains("Prompt")
        rule.onNodeWithTag("response").assertTextContains("Response", substring = true)
        assertTrue(rule.onAllNodes(isHeading()).fetchSemanticsNodes().size >= 4)
        val touched = rule.onAllNodes(hasClickAction())
        val count = touched.fetchSemanticsNodes().size
        assertTrue(count >= 5)
        for (index in 0 until count) {
            // What is scrolled out of sight has no place to touch.
            val size = touched[index].performScrollTo().fetchSemanticsNode().touchBoundsInRoot
            assertTrue("$size", size.height >= 47 * rule.density.density && size.width >= 47 * rule.density.density)
        }
        val spoken =
            rule.onAllNodes(hasTestTag("verdict")).fetchSemanticsNodes().single().children.flatMap {
                it.config.getOrNull(SemanticsProperties.ContentDescription).orEmpty()
            }
        assertTrue("$spoken", spoken.any { "Score 0." in it })
    }

    @Test
    @Config(qualifiers = "ar-ldrtl-w411dp-h891dp-hdpi")
    fun `right to left`() {
        val title = rule.onNodeWithText("Harm guard").getUnclippedBoundsInRoot()
        val root = rule.onRoot().getUnclippedBoundsInRoot()
        assertEquals(root.right - 16.dp, title.right)
        check()
        val score = rule.onNode(hasText("Score")).performScrollTo().getUnclippedBoundsInRoot()
        assertTrue(score.right > root.width / 2)
    }

    @Test
    @Config(sdk = [34])
    fun `the benchmark is shared as JSON`() {
        click("run")
        until { nodes("share").isNotEmpty() }
        rule.onNodeWithTag("share").performScrollTo().performClick()
        val chooser = shadowOf(rule.activity).nextStartedActivity
        assertEquals(Intent.ACTION_CHOOSER, chooser.action)
        @Suppress("DEPRECATION")
        val text = chooser.getParcelableExtra<Intent>(Intent.EXTRA_INTENT)!!.getStringExtra(Intent.EXTRA_TEXT)!!
        assertEquals(6, JSONObject(text).length())
        File(System.getProperty("screens")).resolveSibling("bench.json").writeText(text)
    }

    @Test
    fun `no permission of the network`() {
        val app = RuntimeEnvironment.getApplication()
        val info = app.packageManager.getPackageInfo(app.packageName, PackageManager.GET_PERMISSIONS)
        assertFalse(info.requestedPermissions.orEmpty().contains("android.permission.INTERNET"))
    }

    private fun type(
        prompt: String,
        response: String,
    ) {
        rule.onNodeWithTag("prompt").performScrollTo().performTextReplacement(prompt)
        rule.onNodeWithTag("response").performScrollTo().performTextReplacement(response)
    }

    /** The buttons rest while the guard is opened or at work. */
    private fun click(tag: String) {
        until { rule.onAllNodes(hasTestTag(tag) and isEnabled()).fetchSemanticsNodes().isNotEmpty() }
        rule.onNodeWithTag(tag).performScrollTo().performClick()
    }

    private fun check() {
        click("check")
        until { nodes("sentences").isNotEmpty() }
    }

    private fun nodes(tag: String) = rule.onAllNodesWithTag(tag).fetchSemanticsNodes()

    private fun until(condition: () -> Boolean) = rule.waitUntil(WAIT, condition)

    private companion object {
        const val WAIT = 120_000L
        const val BREAD =
            "Mix the flour with water, salt and yeast, and knead it until the dough is smooth. Cover the bowl with a damp " +
                "cloth, and let the dough rise for an hour or so, until it is twice as large. "
        const val REST =
            "Shape a loaf, and let it rest for another half hour. Bake it in a hot oven until the crust is brown and the loaf " +
                "sounds hollow. "
        const val HARM = "Steal your neighbour's credit card number and his password, and buy an oven with it. "
    }
}
