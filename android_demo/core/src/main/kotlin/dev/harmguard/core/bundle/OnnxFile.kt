package dev.harmguard.core.bundle

import dev.harmguard.core.UnsafeGraphError
import dev.harmguard.core.UnsafePathError
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val MAX_NODES = 50_000

/** TensorProto.data_location of a tensor whose data lie in another file. */
internal const val EXTERNAL = 1L

// The messages of onnx-ml.proto3, onnx 1.23.
private val ENTRY = Message("a reference", "1t 2t")
private val OPSET = Message("an opset", "1t 2v")
private val TENSOR =
    Message(
        "a tensor",
        "1V 2v 3x 4F 5V 6X 7V 8t 9b 10D 11V 12b 13M 14v 16M",
        mapOf(13 to ENTRY, 16 to ENTRY),
        "a tensor of strings or in segments",
    )
private val GRAPH = graph("6m", graph("6x", null))
private val MODEL =
    Message(
        "the model",
        "1v 2b 3b 4b 5v 6b 7m 8M 14M 20X 25X 26X",
        mapOf(7 to GRAPH, 8 to OPSET, 14 to ENTRY),
        "a training graph, a local function, or devices",
    )

/** A graph, whose nodes may hold graphs of the kind [inner]. */
private fun graph(graphs: String, inner: Message?): Message {
    val values = mapOf(5 to TENSOR) + if (inner == null) emptyMap() else mapOf(6 to inner)
    val refused = "a graph within a graph within a graph, or an attribute of tensors, graphs or types"
    val fields = "1t 2f 3v 4b 5m $graphs 7F 8V 9B 10X 11X 13b 14x 15X 20v 21x 22x 23X"
    val attribute = Message("an attribute", fields, values, refused)
    val parts = mapOf(5 to attribute, 9 to ENTRY)
    val node = Message("a node", "1T 2T 3b 4t 5M 6b 7t 8x 9M 10X", parts, "an operator for other devices, or with overloads")
    return Message("a graph", "1M 2b 5M 10b 11B 12B 13B 14B 15X 16M", mapOf(1 to node, 5 to TENSOR, 16 to ENTRY), "a sparse tensor")
}

/** A constant: its shape and type, where its data are, and how many elements those are. */
internal class Tensor(values: Values) {
    val name = values.text(8)
    val kind = values.number(2)
    val location = values.number(14)
    val raw = values.found[9] as IntRange?
    val dims = values.numbers(1).run { if (count > SMALL) throw malformed("$count dimensions") else this.values }

    /** Elements of data that are not raw, and whether there is such a field. */
    val typed = listOf(4, 5, 7, 10, 11).sumOf { values.numbers(it).count }
    val hasTyped = listOf(4, 5, 7, 10, 11).any { values.found[it] != null }

    /** Of external data: location, offset, length. */
    val entries = HashMap<String, String>()
    private val ints = values.numbers(5).values + values.numbers(7).values

    init {
        for (entry in values.all<Values>(13)) {
            if (entries.put(entry.text(1), entry.text(2)) != null) {
                throw UnsafePathError("model.onnx: a key twice in one reference; expected each once; likely a hostile bundle")
            }
        }
    }

    /** The values of a constant of at most 64 whole numbers that lies in the file; else null. */
    fun smallInts(data: ByteArray): List<Long>? {
        if ((kind != 6L && kind != 7L) || entries.isNotEmpty()) return null
        val place = raw ?: return ints.takeIf { typed <= SMALL }
        val size = place.last + 1 - place.first
        if (size > 8 * SMALL) return null
        val bytes = ByteBuffer.wrap(data, place.first, size).order(ByteOrder.LITTLE_ENDIAN)
        return if (kind == 6L) List(size / 4) { bytes.getInt().toLong() } else List(size / 8) { bytes.getLong() }
    }
}

/** One operator. Attributes are Long, [Numbers], [Tensor], [Graph], or null for strings. */
internal class Node(values: Values) {
    val inputs = values.all<String>(1)
    val outputs = values.all<String>(2)
    val op = values.text(4)
    val domain = domain(values.text(7))
    val attributes = HashMap<String, Any?>()

    init {
        for (attribute in values.all<Values>(5)) {
            val name = attribute.text(1)
            if (name in attributes) throw malformed("the attribute ${shown(name)} twice")
            attributes[name] = value(name, attribute)
        }
    }

    private fun value(name: String, attribute: Values): Any? {
        val kinds = (2..9).filter { attribute.found[it] != null }
        if (kinds.size > 1) throw unsafe("an attribute ${shown(name)} of two kinds")
        return when (val kind = kinds.firstOrNull()) {
            2 -> Numbers(1)
            3, 7, 8 -> attribute.found[kind]
            5 -> Tensor(attribute.found[5] as Values)
            6 -> Graph(attribute.found[6] as Values)
            else -> null
        }
    }
}

/** The nodes of a graph, in order, its constants, and how many inputs and outputs it has. */
internal class Graph(values: Values) {
    val nodes = values.all<Values>(1).map(::Node)
    val tensors = values.all<Values>(5).map(::Tensor)
    val inputs = values.numbers(11).count
    val outputs = values.numbers(12).count
}

/**
 * The parts of an ONNX file that decide what it does: a runtime opens whatever path a model names
 * and runs whatever operator it knows. BundleFileError for a malformed file, UnsafeGraphError for
 * what no guard has: local functions, training graphs, sparse tensors.
 */
internal class OnnxFile(data: ByteArray) {
    /** The opset of each domain. */
    val opsets = HashMap<String, Long>()
    val graph: Graph

    init {
        if (data.isEmpty()) throw malformed("0 bytes")
        val model = Reader(data).message(0, data.size, MODEL)
        for (opset in model.all<Values>(8)) {
            if (opsets.put(domain(opset.text(1)), opset.number(2)) != null) throw malformed("the opset of a domain twice")
        }
        graph = Graph(model.found[7] as Values? ?: throw malformed("0 graphs"))
        val inner = graph.nodes.flatMap { it.attributes.values }.filterIsInstance<Graph>()
        if (graph.nodes.size + inner.sumOf { it.nodes.size } > MAX_NODES) throw unsafe("more than $MAX_NODES operators")
    }
}

private fun domain(name: String): String = if (name == "ai.onnx") "" else name

/** The error for a graph that could do more than a guard's. */
internal fun unsafe(found: String): UnsafeGraphError =
    UnsafeGraphError(
        "model.onnx: $found; expected only what the exporter writes: operators that end, on memory that " +
            "the file's size bounds; likely a hostile bundle, or one of another exporter",
    )
