package dev.harmguard.demo

import androidx.compose.ui.test.hasTestTag
import androidx.compose.ui.test.isEnabled
import androidx.compose.ui.test.junit4.createAndroidComposeRule
import androidx.compose.ui.test.onAllNodesWithTag
import androidx.compose.ui.test.onNodeWithTag
import androidx.compose.ui.test.performClick
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import dev.harmguard.HarmGuard
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import java.io.File

/** On a device or an emulator: the golden pairs, and one check on the screen. */
@RunWith(AndroidJUnit4::class)
class GoldenTest {
    @get:Rule
    val rule = createAndroidComposeRule<MainActivity>()

    @Test
    fun goldenPairsGiveTheirScores() {
        HarmGuard.open(InstrumentationRegistry.getInstrumentation().targetContext).use { guard ->
            for (row in File(guard.bundle.folder, "golden.jsonl").readLines().map(::JSONObject)) {
                val response = if (row.isNull("response")) null else row.getString("response")
                val score = guard.score(row.getString("prompt"), response)
                assertEquals(row.getDouble("score"), score.toDouble(), row.getDouble("tolerance"))
            }
        }
    }

    @Test
    fun aCheckShowsAVerdict() {
        // The buttons rest while the guard is opened.
        rule.waitUntil(60_000) { rule.onAllNodes(hasTestTag("check") and isEnabled()).fetchSemanticsNodes().isNotEmpty() }
        rule.onNodeWithTag("check").performClick()
        rule.waitUntil(60_000) { rule.onAllNodesWithTag("verdict").fetchSemanticsNodes().isNotEmpty() }
    }
}
