package dev.harmguard.bench

import android.os.Build
import dev.harmguard.HarmGuard
import dev.harmguard.core.GoldenMismatchError
import org.json.JSONArray
import org.json.JSONObject
import java.io.File
import java.security.MessageDigest
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.ln
import kotlin.random.Random

/** What was measured: median milliseconds by tokens for the screen, and the JSON of `harmguard bench`. */
public class BenchResult(
    public val medians: Map<Int, Double>,
    public val json: String,
)

/**
 * Measures a guard as `harmguard bench` does, with the same names in its JSON. What needs a process of its
 * own (start-up, a limited device) says so in place of a figure, and memory is that of the whole app.
 */
public class Bench
    @JvmOverloads
    constructor(
        private val guard: HarmGuard,
        private val samples: Int = SAMPLES,
        private val bulk: Int = BULK_PAIRS,
    ) {
        private val random = Random(SEED)
        private val manifest = guard.bundle.manifest
        private val specials =
            manifest.input.template.exchange
                .count { it.text == null }
        private val longest = manifest.input.maxTokens - specials

        /** Measure all; [say] gets what is under way. Raises [GoldenMismatchError], and what a score raises. */
        public fun measure(say: (String) -> Unit): BenchResult {
            say("golden pairs")
            val golden = replayGolden()
            val memory = JSONObject().put("import", states(null)).put("load", states(null))
            score(pair(SHORT))
            memory.put("first_score", states(Memory.all()))
            val cells = LENGTHS.filter { it <= manifest.input.maxTokens }.associateWith { latency(it, say) }
            memory.put("long_score", states(Memory.all()))
            say("throughput")
            val throughput = throughput()
            memory.put("batch", states(Memory.all()))
            memory.put("long_tokens", longest).put("batch_pairs", bulk)
            val spreads = cells.values.map { it.getDouble("spread") }
            val noise = JSONObject().put("bound", NOISY).put("worst_spread", spreads.max()).put("noisy", spreads.max() > NOISY)
            val byTokens = JSONObject(cells.mapKeys { it.key.toString() })
            val json =
                JSONObject()
                    .put("machine", machine().put("noise", noise))
                    .put("bundle", bundle(golden))
                    .put("latency_ms", JSONObject().put("threads", JSONObject().put("1", byTokens)).put("small_device", none()))
                    .put("throughput", throughput)
                    .put("startup_s", none())
                    .put("memory_mb", memory)
            return BenchResult(cells.mapValues { it.value.getDouble("median") }, json.toString())
        }

        /** Nothing is timed that does not compute what the bundle says. */
        private fun replayGolden(): JSONObject {
            val rows = File(guard.bundle.folder, "golden.jsonl").readLines().map(::JSONObject)
            var worst = 0.0
            rows.forEachIndexed { index, row ->
                val response = if (row.isNull("response")) null else row.getString("response")
                val error = abs(guard.score(row.getString("prompt"), response) - row.getDouble("score"))
                if (error > row.getDouble("tolerance")) {
                    throw GoldenMismatchError(
                        "golden.jsonl, row ${index + 1}: a score $error from its reference; expected it within " +
                            "${row.getDouble("tolerance")}; likely a processor with other arithmetic, or a file of another bundle",
                    )
                }
                worst = maxOf(worst, error)
            }
            return JSONObject().put("rows", rows.size).put("worst_error", worst)
        }

        private fun latency(
            tokens: Int,
            say: (String) -> Unit,
        ): JSONObject {
            say("$tokens")
            val pairs = List(TEXTS) { pair(tokens - specials) }
            score(pairs[0])
            val taken = mutableListOf<Double>()
            while (taken.size < samples && (taken.size < MIN_SAMPLES || taken.sum() < CELL_MILLISECONDS)) {
                taken += milliseconds { score(pairs[taken.size % TEXTS]) }
            }
            val median = percentile(taken, 0.5)
            return JSONObject()
                .put("n", taken.size)
                .put("median", median)
                .put("p90", percentile(taken, 0.9))
                .put("p99", if (taken.size < SAMPLES) JSONObject.NULL else percentile(taken, 0.99))
                .put("spread", (percentile(taken, 0.9) - percentile(taken, 0.1)) / median)
        }

        private fun throughput(): JSONObject {
            val pairs =
                List(bulk) {
                    val share = random.nextDouble()
                    pair(exp(ln(LENGTHS[0].toDouble()) * (1 - share) + ln(longest.toDouble()) * share).toInt())
                }
            val many = List(ROUNDS) { milliseconds { guard.scoreMany(pairs) } / 1000 }
            val single = List(ROUNDS) { milliseconds { pairs.forEach(::score) } / 1000 }
            return JSONObject()
                .put("threads", 1)
                .put("pairs", bulk)
                .put("tokens", JSONArray(listOf(LENGTHS[0], longest)))
                .put("score_many_pairs_per_s", bulk / percentile(many, 0.5))
                .put("one_by_one_pairs_per_s", bulk / percentile(single, 0.5))
                .put("rounds_s", JSONObject().put("score_many", JSONArray(many)).put("one_by_one", JSONArray(single)))
        }

        private fun machine(): JSONObject {
            val memory = File("/proc/meminfo").readLines().find { it.startsWith("MemTotal:") }
            val cores = Runtime.getRuntime().availableProcessors()
            val packages = JSONObject().put("harmguard", HarmGuard.VERSION).put("onnxruntime", HarmGuard.runtimeVersion)
            return JSONObject()
                .put("cpu", "${Build.MANUFACTURER} ${Build.MODEL} (${Build.HARDWARE})")
                .put("features", JSONObject.NULL)
                .put("features_asked", JSONObject.NULL)
                .put("cores", cores)
                .put("cores_allowed", cores)
                .put("memory_mb", memory?.filter(Char::isDigit)?.toLong()?.div(KILOBYTES) ?: JSONObject.NULL)
                .put("memory_limit_mb", JSONObject.NULL)
                .put("os", "Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT}), ${Build.SUPPORTED_ABIS.joinToString()}")
                .put("python", JSONObject.NULL)
                .put("packages", packages)
                .put("load_average", JSONObject.NULL)
        }

        private fun bundle(golden: JSONObject): JSONObject {
            val own = File(guard.bundle.folder, "guard.json").readBytes()
            val digest = MessageDigest.getInstance("SHA-256").digest(own).joinToString("") { "%02x".format(it) }
            val hashes = JSONObject().put("guard.json", digest).put("model.onnx", manifest.files.getValue("model.onnx").sha256)
            return JSONObject()
                .put("name", manifest.name)
                .put("version", manifest.version)
                .put("status", manifest.status)
                .put("recipe", JSONObject.NULL)
                .put("bytes", own.size + manifest.files.values.sumOf { it.size })
                .put("sha256", hashes)
                .put("golden", golden)
        }

        private fun states(found: Map<String, Long?>?): JSONObject =
            JSONObject().also { json -> KINDS.forEach { json.put(it, found?.get(it) ?: JSONObject.NULL) } }

        private fun none() = JSONObject().put("error", "BenchError: not measured in an app, which has one process")

        /** A pair of so many tokens, a quarter of them the prompt's. */
        private fun pair(tokens: Int): Pair<String, String> {
            val prompt = maxOf(1, tokens / 4)
            return text(prompt) to text(tokens - prompt)
        }

        private fun text(words: Int) = List(words) { WORDS[random.nextInt(WORDS.size)] }.joinToString(" ")

        private fun score(pair: Pair<String, String>) = guard.score(pair.first, pair.second)

        private inline fun milliseconds(work: () -> Unit): Double {
            val before = System.nanoTime()
            work()
            return (System.nanoTime() - before) / NANOSECONDS
        }

        private companion object {
            val LENGTHS = listOf(16, 32, 64, 128, 256, 512)
            val KINDS = listOf("anonymous", "file", "pss", "peak", "peak_anonymous")
            const val SAMPLES = 100
            const val MIN_SAMPLES = 10
            const val BULK_PAIRS = 32
            const val ROUNDS = 3
            const val TEXTS = 4
            const val SHORT = 29
            const val SEED = 17
            const val NOISY = 0.25
            const val CELL_MILLISECONDS = 20_000.0
            const val NANOSECONDS = 1e6
            const val KILOBYTES = 1024

            // Of harmguard/bench/text.py; each is one token of an English tokenizer.
            val WORDS =
                (
                    "the a and of to in for with on from after before while because when where how what which some many small " +
                        "large green blue old new warm cold bright quiet early late good short long garden kitchen river bread " +
                        "water paper window table letter morning evening summer winter school teacher student friend family music " +
                        "picture story question answer number city street train market coffee apple orange bird horse tree flower"
                ).split(" ")

            fun percentile(
                samples: List<Double>,
                q: Double,
            ): Double {
                val ordered = samples.sorted()
                val place = q * (ordered.size - 1)
                val (below, above) = ordered[floor(place).toInt()] to ordered[ceil(place).toInt()]
                return below + (above - below) * (place - floor(place))
            }
        }
    }
