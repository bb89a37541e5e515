package dev.harmguard.demo

import android.app.Application
import androidx.compose.runtime.Immutable
import androidx.lifecycle.AndroidViewModel
import androidx.lifecycle.viewModelScope
import dev.harmguard.HarmGuard
import dev.harmguard.bench.Bench
import dev.harmguard.bench.BenchResult
import dev.harmguard.bench.Memory
import dev.harmguard.core.Explanation
import dev.harmguard.core.HarmGuardError
import dev.harmguard.core.HarmfulStreamError
import dev.harmguard.core.StreamVerdict
import dev.harmguard.core.Verdict
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch

/** A verdict, what it took, and which sentences it comes from once that is known. */
@Immutable
data class Checked(
    val verdict: Verdict,
    val milliseconds: Double,
    val memory: Long?,
    val text: String,
    val explanation: Explanation? = null,
)

/** An answer while it is written: what went out, how much came in, and how it ended. */
@Immutable
data class Streamed(
    val released: String = "",
    val arrived: Int = 0,
    val stop: StreamVerdict? = null,
    val done: Boolean = false,
) {
    /** Characters that are not judged yet. */
    val held: Int get() = if (stop == null) arrived - length(released) else 0
}

/** What the benchmark says so far, and its result. */
@Immutable
data class Benched(
    val step: String? = null,
    val result: BenchResult? = null,
)

/** All that the screen shows beside the texts. */
@Immutable
data class GuardState(
    val opening: Boolean = true,
    val busy: Boolean = false,
    val failure: String? = null,
    val checked: Checked? = null,
    val streamed: Streamed? = null,
    val benched: Benched = Benched(),
)

/** Holds the guard, and what was asked of it, over rotations. */
class GuardViewModel(
    app: Application,
) : AndroidViewModel(app) {
    private val now = MutableStateFlow(GuardState())

    /** What the screen shows. */
    val state: StateFlow<GuardState> = now.asStateFlow()

    // Not the view model's own scope: a guard that is opened while that ends must be closed all the same.
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.IO)
    private val opened = scope.async { HarmGuard.open(app) }
    private var work: Job? = null

    init {
        run { opened.await() }
    }

    /** Check the pair, then find which sentences the verdict comes from. */
    fun check(
        prompt: String,
        response: String,
    ) = run {
        now.update { it.copy(checked = null) }
        val guard = opened.await()
        val answer = response.ifEmpty { null }
        val before = System.nanoTime()
        val verdict = guard.awaitCheck(prompt, answer)
        val checked = Checked(verdict, (System.nanoTime() - before) / NANOSECONDS, Memory.anonymous(), answer ?: prompt)
        now.update { it.copy(checked = checked) }
        val explanation = guard.awaitExplain(prompt, answer)
        now.update { it.copy(checked = checked.copy(explanation = explanation)) }
    }

    /** Let [response] come word by word, as a model writes it, and show what is judged. */
    fun stream(
        prompt: String,
        response: String,
    ) = run {
        now.update { it.copy(streamed = Streamed()) }
        val words =
            flow {
                for (word in response.split(WORD_STARTS)) {
                    delay(WORD_MILLISECONDS)
                    streamed { copy(arrived = arrived + length(word)) }
                    emit(word)
                }
            }
        try {
            opened.await().stream(prompt, words).collect { part -> streamed { copy(released = released + part) } }
            streamed { copy(done = true) }
        } catch (stop: HarmfulStreamError) {
            streamed { copy(stop = stop.verdict) }
        }
    }

    /** Measure the guard as `harmguard bench` does. */
    fun bench() =
        run {
            val guard = opened.await()
            val result = Bench(guard, SAMPLES).measure { step -> now.update { it.copy(benched = Benched(step)) } }
            now.update { it.copy(benched = Benched(result = result)) }
        }

    override fun onCleared() {
        // It waits for a score under way, so not here.
        scope.launch { opened.await().close() }
    }

    private fun streamed(change: Streamed.() -> Streamed) = now.update { it.copy(streamed = it.streamed?.change()) }

    private fun run(task: suspend () -> Unit) {
        val before = work
        now.update { it.copy(busy = true, failure = null) }
        work =
            viewModelScope.launch(Dispatchers.Default) {
                before?.cancelAndJoin()
                val failure =
                    try {
                        task()
                        null
                    } catch (error: HarmGuardError) {
                        error.message
                    }
                now.update { it.copy(opening = false, busy = false, failure = failure) }
            }
    }

    private companion object {
        const val NANOSECONDS = 1e6
        const val SAMPLES = 30
        const val WORD_MILLISECONDS = 40L
        val WORD_STARTS = Regex("(?<=\\s)(?=\\S)")
    }
}

/** Characters as the guard counts them: code points. */
internal fun length(text: String): Int = text.codePointCount(0, text.length)
