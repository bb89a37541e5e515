package dev.harmguard

import ai.onnxruntime.OrtEnvironment
import android.content.Context
import dev.harmguard.core.Explanation
import dev.harmguard.core.Gate
import dev.harmguard.core.Guard
import dev.harmguard.core.GuardClosedError
import dev.harmguard.core.Hold
import dev.harmguard.core.OnHarm
import dev.harmguard.core.OnnxModel
import dev.harmguard.core.StreamVerdict
import dev.harmguard.core.Verdict
import dev.harmguard.core.bundle.Bundle
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import kotlinx.coroutines.flow.emitAll
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.transformWhile
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.withContext
import java.io.Closeable
import java.io.File
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.RejectedExecutionException
import java.util.concurrent.ThreadPoolExecutor
import java.util.concurrent.TimeUnit

/**
 * A guard: scores how harmful a prompt, or a prompt with its response, is. On the device alone:
 * nothing is looked up or downloaded, and no text is kept, logged or put into an exception.
 *
 * A response of `null` means that there is none, and the score is the prompt's; otherwise it is the
 * exchange's, also for an empty response. Texts that are longer than the model's input are scored in
 * overlapping windows, and the highest score counts.
 *
 * `score`, `check`, `scoreMany`, `checkMany` and `explain` block: call them off the main thread. Their
 * `await` variants suspend, and run one after another on a thread of the guard's own; a cancelled one
 * returns at once, and is taken out of the queue. All may be called from any thread. One guard per app is
 * enough. [close] waits for the score under way; later calls raise [GuardClosedError].
 *
 * @property bundle what the guard was made from: its name, version, thresholds, hashes
 */
public class HarmGuard private constructor(
    public val bundle: Bundle,
    private val guard: Guard,
) : Closeable {
    private val worker =
        ThreadPoolExecutor(1, 1, IDLE_SECONDS, TimeUnit.SECONDS, LinkedBlockingQueue()) { task ->
            Thread(task, "harmguard").apply { isDaemon = true }
        }.apply { allowCoreThreadTimeOut(true) }

    /**
     * P(harmful), in [0, 1], of the exchange, or of the prompt alone.
     *
     * Raises [dev.harmguard.core.InputError] for a text that cannot be scored (empty, too long, lone
     * surrogates), [GuardClosedError], and [dev.harmguard.core.RunError] if the runtime fails.
     */
    @JvmOverloads
    public fun score(
        prompt: String,
        response: String? = null,
    ): Float = guard.score(prompt, response)

    /** The score with the decision taken on it. Raises what [score] raises. */
    @JvmOverloads
    public fun check(
        prompt: String,
        response: String? = null,
    ): Verdict = guard.check(prompt, response)

    /** P(harmful) of each pair, in the order of the input; the same as one by one. Errors name the pair. */
    public fun scoreMany(pairs: List<Pair<String, String?>>): FloatArray = guard.scoreMany(pairs)

    /** The verdict on each pair, in the order of the input. */
    public fun checkMany(pairs: List<Pair<String, String?>>): List<Verdict> = guard.checkMany(pairs)

    /** The sentences of a response, or of a prompt alone, with their part in the verdict. */
    @JvmOverloads
    public fun explain(
        prompt: String,
        response: String? = null,
    ): Explanation = guard.explain(prompt, response)

    /** [score] for coroutines. */
    public suspend fun awaitScore(
        prompt: String,
        response: String? = null,
    ): Float = onWorker { score(prompt, response) }

    /** [check] for coroutines. */
    public suspend fun awaitCheck(
        prompt: String,
        response: String? = null,
    ): Verdict = onWorker { check(prompt, response) }

    /** [scoreMany] for coroutines. */
    public suspend fun awaitScoreMany(pairs: List<Pair<String, String?>>): FloatArray = onWorker { scoreMany(pairs) }

    /** [checkMany] for coroutines. */
    public suspend fun awaitCheckMany(pairs: List<Pair<String, String?>>): List<Verdict> = onWorker { checkMany(pairs) }

    /** [explain] for coroutines. */
    public suspend fun awaitExplain(
        prompt: String,
        response: String? = null,
    ): Explanation = onWorker { explain(prompt, response) }

    /**
     * The answer that [chunks] brings, as it is judged: a part is held until the answer up to its end
     * is harmless, and together the parts are what went in. At the first harmful verdict the flow fails
     * with [dev.harmguard.core.HarmfulStreamError], whose `verdict` says where; nothing of that part
     * leaves, and [chunks] is cancelled. A cancelled collector frees the text.
     *
     * [threshold] is an operating point for exchanges. Raises what [score] raises, and
     * [dev.harmguard.core.MissingStreamPointError] for a bundle without the point `stream`.
     */
    @JvmOverloads
    public fun stream(
        prompt: String,
        chunks: Flow<String>,
        threshold: String = "stream",
    ): Flow<String> = judged(chunks) { guard.gate(prompt, threshold, Hold.SENTENCE, OnHarm.RAISE) }

    /**
     * A verdict wherever a part of the answer ends, for apps that show the text first. The flow ends
     * after the first harmful one.
     */
    @JvmOverloads
    public fun streamVerdicts(
        prompt: String,
        chunks: Flow<String>,
        threshold: String = "stream",
    ): Flow<StreamVerdict> = judged(chunks) { guard.gate(prompt, threshold, Hold.NONE, OnHarm.VERDICT) }

    /**
     * What [stream] is made of, for programs without coroutines: text goes in by `push` and `finish`, is
     * judged by `judge` while it is `due`, and comes out of `settle`.
     */
    @JvmOverloads
    public fun gate(
        prompt: String,
        threshold: String = "stream",
        hold: Hold = Hold.SENTENCE,
        onHarm: OnHarm = OnHarm.RAISE,
    ): Gate = guard.gate(prompt, threshold, hold, onHarm)

    /** Free the model, once the score under way has ended. What still waits raises [GuardClosedError]. */
    override fun close() {
        guard.close()
        worker.shutdown()
    }

    private inline fun <reified T> judged(
        chunks: Flow<String>,
        noinline make: () -> Gate,
    ): Flow<T> =
        flow {
            val gate = onWorker(make)
            try {
                val parts =
                    chunks.transformWhile {
                        gate.push(it)
                        settle(gate)
                        !gate.stopped
                    }
                emitAll(parts.filterIsInstance<T>())
                if (!gate.stopped) {
                    gate.finish()
                    emitAll(flow { settle(gate) }.filterIsInstance<T>())
                }
            } finally {
                // Behind a judgement that nobody waits for any more.
                later { gate.drop() }
            }
        }

    private suspend fun FlowCollector<Any>.settle(gate: Gate) {
        while (gate.due) gate.settle(onWorker(gate::judge)).forEach { emit(it) }
    }

    private suspend fun <T> onWorker(work: () -> T): T =
        suspendCancellableCoroutine { waiting ->
            val task = Runnable { if (waiting.isActive) waiting.resumeWith(runCatching(work)) }
            waiting.invokeOnCancellation { worker.remove(task) }
            try {
                worker.execute(task)
            } catch (_: RejectedExecutionException) {
                waiting.resumeWith(Result.failure(GuardClosedError("this guard is closed; expected an open one; make a new one")))
            }
        }

    /** Run [work] after what the worker has under way, here if nothing can be any more. */
    private fun later(work: Runnable) {
        try {
            worker.execute(work)
        } catch (_: RejectedExecutionException) {
            work.run()
        }
    }

    public companion object {
        /** The version of this library. */
        public const val VERSION: String = "0.1.0"

        /** The version of ONNX Runtime that it runs on. */
        @JvmStatic
        public val runtimeVersion: String get() = OrtEnvironment.getEnvironment().version

        /** Where [open] looks for a bundle among the assets. */
        public const val ASSETS: String = "harmguard/mini"

        private const val IDLE_SECONDS = 10L

        /**
         * The guard of a bundle among the app's assets: copied once to the app's files, under its hash,
         * and opened from there, so that its weights are mapped instead of held in memory. [threshold] is
         * the operating point that [check] goes by.
         *
         * Blocks for some 100 ms, the first time longer: call it off the main thread, or use [awaitOpen].
         * Raises [dev.harmguard.core.BundleError] for a bundle that cannot be used, [PrepareError] where
         * it cannot be copied (a full disk, no such asset), and
         * [dev.harmguard.core.UnknownThresholdError].
         */
        @JvmStatic
        @JvmOverloads
        public fun open(
            context: Context,
            asset: String = ASSETS,
            threshold: String = "default",
        ): HarmGuard = of(AssetBundle(context, asset).open(), threshold)

        /** The guard of a bundle in a folder. Raises what the other `open` raises, but [PrepareError]. */
        @JvmStatic
        @JvmOverloads
        public fun open(
            folder: File,
            threshold: String = "default",
        ): HarmGuard = of(Bundle.open(folder), threshold)

        /** [open] for coroutines. */
        public suspend fun awaitOpen(
            context: Context,
            asset: String = ASSETS,
            threshold: String = "default",
        ): HarmGuard = withContext(Dispatchers.IO) { open(context, asset, threshold) }

        private fun of(
            bundle: Bundle,
            threshold: String,
        ): HarmGuard = HarmGuard(bundle, Guard(bundle, OnnxModel.opener, threshold))
    }
}
