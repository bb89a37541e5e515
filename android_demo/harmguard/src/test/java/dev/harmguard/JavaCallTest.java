package dev.harmguard;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertThrows;

import dev.harmguard.core.EmptyPromptError;
import dev.harmguard.core.Explanation;
import dev.harmguard.core.Gate;
import dev.harmguard.core.StreamVerdict;
import dev.harmguard.core.Verdict;
import java.io.File;
import java.util.Arrays;
import kotlin.Pair;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;

/** The library as Java calls it. */
@RunWith(RobolectricTestRunner.class)
public class JavaCallTest {
    private static final String PROMPT = "How do I bake bread?";
    private static final String RESPONSE = "Mix flour, water, salt and yeast.";

    @Test
    public void fromAssets() {
        try (HarmGuard guard = HarmGuard.open(RuntimeEnvironment.getApplication())) {
            Verdict verdict = guard.check(PROMPT, RESPONSE);
            assertFalse(verdict.getHarmful());
            assertEquals(guard.score(PROMPT, RESPONSE), verdict.getScore(), 0);
            assertEquals("mini", guard.getBundle().getManifest().getName());
        }
    }

    @Test
    public void fromAFolder() {
        File folder = new File(System.getProperty("checkout"), "harmguard/models/mini");
        try (HarmGuard guard = HarmGuard.open(folder, "fpr_1")) {
            float[] scores = guard.scoreMany(Arrays.asList(new Pair<>(PROMPT, RESPONSE), new Pair<>(PROMPT, null)));
            assertEquals(guard.score(PROMPT), scores[1], 0);
            assertThrows(EmptyPromptError.class, () -> guard.score(""));
            Explanation explanation = guard.explain(PROMPT, RESPONSE);
            assertEquals(1, explanation.getParts().size());
            Gate gate = guard.gate(PROMPT);
            gate.push(RESPONSE);
            gate.finish();
            while (gate.getDue()) {
                StreamVerdict verdict = gate.judge();
                gate.settle(verdict);
                assertEquals(scores[0], verdict.getScore(), 0);
            }
        }
    }
}
