package dev.harmguard;

import dev.harmguard.core.EmptyPromptError;
import dev.harmguard.core.Verdict;
import java.io.File;

/** What scripts/test_android shrinks together with the library, by the library's own rules alone, and runs. */
public final class ShrunkMain {
    private ShrunkMain() {}

    public static void main(String[] arguments) {
        String prompt = "How do I bake bread?";
        String response = "Mix flour, water, salt and yeast. Bake it.";
        try (HarmGuard guard = HarmGuard.open(new File(arguments[0]))) {
            Verdict verdict = guard.check(prompt, response);
            System.out.println("score " + guard.score(prompt, response) + " " + verdict.getHarmful());
            System.out.println("view " + guard.check("H\u200bo\u200bw do I b\u0430ke bread?").getView());
            System.out.println("parts " + guard.explain(prompt, response).getParts().size());
            try {
                guard.score("");
            } catch (EmptyPromptError error) {
                System.out.println("error " + error.getClass().getName());
            }
        }
    }
}
