package dev.harmguard.core

import ai.onnxruntime.NodeInfo
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import dev.harmguard.core.bundle.Bundle
import dev.harmguard.core.bundle.GraphValue
import dev.harmguard.core.bundle.checkGraph
import dev.harmguard.core.bundle.checkRuntime
import java.nio.LongBuffer
import java.util.concurrent.Semaphore

/** What a longer batch needed is given back: it grows with the square of the length. */
private const val SHORT_TOKENS = 256
private const val OUTPUT = "logits"

/**
 * The model in ONNX Runtime: opened by path, so that its weights are mapped. A program's own `OrtEnvironment` is used
 * if there is one. As many runs take place at once as there are cores for.
 */
public class OnnxModel private constructor(
    private val env: OrtEnvironment,
    private val session: OrtSession,
    private val names: List<String>,
    threads: Int,
) : Model {
    private val slots = Semaphore(maxOf(1, Runtime.getRuntime().availableProcessors() / threads), true)

    override fun logits(batch: Batch): Array<FloatArray> {
        val values = mapOf("input_ids" to batch.ids, "attention_mask" to batch.mask, "token_type_ids" to batch.types)
        val shape = longArrayOf(batch.rows.toLong(), batch.length.toLong())
        val inputs = LinkedHashMap<String, OnnxTensor>()
        slots.acquireUninterruptibly()
        try {
            for (name in names) inputs[name] = OnnxTensor.createTensor(env, LongBuffer.wrap(values.getValue(name)), shape)
            return run(inputs, batch)
        } catch (error: OrtException) {
            // By its code alone: its message may hold token ids, which are the text.
            throw RunError(
                "onnxruntime failed on ${batch.rows} inputs of ${batch.length} tokens (${error.code}); expected logits; " +
                    "likely too little memory, or token ids that the model has no embedding for",
            )
        } finally {
            inputs.values.forEach(OnnxTensor::close)
            slots.release()
        }
    }

    private fun run(inputs: Map<String, OnnxTensor>, batch: Batch): Array<FloatArray> = OrtSession.RunOptions().use { options ->
        options.setLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL)
        if (batch.ids.size > SHORT_TOKENS) options.addRunConfigEntry("memory.enable_memory_arena_shrinkage", "cpu:0")
        session.run(inputs, setOf(OUTPUT), options).use { result ->
            val tensor = result[0] as OnnxTensor
            val shape = tensor.info.shape
            if (!shape.contentEquals(longArrayOf(batch.rows.toLong(), LABELS.toLong()))) {
                throw GraphMismatchError(
                    "the model gave a result of shape ${shape.asList()}; expected [${batch.rows}, $LABELS], a row of logits " +
                        "for each input; likely a graph with a fixed batch size",
                )
            }
            val found = tensor.floatBuffer
            Array(batch.rows) { FloatArray(LABELS).also(found::get) }
        }
    }

    override fun close(): Unit = session.close()

    public companion object {
        private const val LABELS = 2

        /** Opens models with one thread each. */
        @JvmStatic
        public val opener: ModelOpener = opener(1)

        /** Opens models with several threads each. */
        @JvmStatic
        public fun opener(threads: Int): ModelOpener {
            if (threads < 1) throw InputError("threads is $threads; expected at least 1")
            return ModelOpener { open(it, threads) }
        }

        private fun open(bundle: Bundle, threads: Int): OnnxModel {
            val env = OrtEnvironment.getEnvironment()
            checkRuntime(env.version, bundle.manifest.requires)
            val session = try {
                env.setTelemetry(false)
                options(threads).use { env.createSession(bundle.graph.path, it) }
            } catch (error: OrtException) {
                throw BundleFileError(
                    "model.onnx cannot be loaded (${error.code}); expected a graph for onnxruntime " +
                        "${bundle.manifest.requires.onnxruntime} or newer; likely an operator that the installed release " +
                        "lacks, or a damaged export",
                )
            }
            try {
                bundle.checkUnchanged()
                checkGraph(values(session.inputInfo), values(session.outputInfo), bundle.manifest)
            } catch (error: HarmGuardError) {
                session.close()
                throw error
            }
            return OnnxModel(env, session, bundle.manifest.input.names, threads)
        }

        private fun options(threads: Int): OrtSession.SessionOptions = OrtSession.SessionOptions().apply {
            setIntraOpNumThreads(threads)
            setInterOpNumThreads(1)
            // What it logs holds names out of the model, raw; what goes wrong it raises as well.
            setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL)
            // Without an arena every tensor is new pages; a plan per shape keeps the peak of the largest batch for good.
            setCPUArenaAllocator(true)
            setMemoryPatternOptimization(false)
            addConfigEntry("session.intra_op.allow_spinning", "0")
        }

        private fun values(info: Map<String, NodeInfo>): List<GraphValue> = info.map { (name, node) ->
            val tensor = node.info as? TensorInfo
            GraphValue(name, tensor?.type?.name ?: "no tensor", tensor?.shape?.asList().orEmpty())
        }
    }
}
