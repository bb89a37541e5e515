package dev.harmguard.core.bundle

import dev.harmguard.core.GraphMismatchError
import dev.harmguard.core.UnsafePathError

private const val MAX_HEADS = 1024
private const val MAX_BODY_NODES = 64
private const val MAX_DIMENSIONS = 16

/** What constants of a small file may have all the same: a mask of 1,024 by 1,024 positions. */
private const val LEAST_ELEMENTS = 1L shl 20

/** Bits of an element of each TensorProto.DataType; 0 is refused. */
private val BITS = intArrayOf(0, 32, 8, 8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64, 0, 0, 16, 8, 8, 8, 8, 4, 4)
private val IN_FILES = (1L..7L).toSet() + (9L..13L)

/**
 * Checks the ONNX file [data], and returns the names of the files that its weights lie in.
 *
 * [sizes] maps the files that the manifest lists to their sizes; a reference must name one and
 * stay within it. [opset] and [maxTokens] are the manifest's. Raises BundleFileError,
 * UnsafePathError, UnsafeGraphError, or GraphMismatchError for another opset or a short table.
 */
internal fun checkGraphFile(data: ByteArray, sizes: Map<String, Long>, opset: Long, maxTokens: Int): Set<String> {
    val model = OnnxFile(data)
    val found = model.opsets[""]
    if (found != opset) {
        throw GraphMismatchError(
            "model.onnx: its opset is $found; expected $opset as requires.opset says; likely a model file of another bundle",
        )
    }
    val locations = GraphCheck(model.graph, data, sizes).locations()
    checkPositions(model.graph, data, maxTokens)
    return locations
}

private class GraphCheck(private val graph: Graph, private val data: ByteArray, private val sizes: Map<String, Long>) {
    /** Elements, at most, of every value that no input of the model can change. */
    private val constants = HashMap<String, Long>()
    private val known = HashMap<String, Tensor>()
    private val makers = HashMap<String, Node>()
    private val limit = maxOf(LEAST_ELEMENTS, data.size + sizes.values.sum())
    private var total = 0L

    fun locations(): Set<String> {
        for (tensor in graph.tensors) {
            if (tensor.name in constants) throw unsafe("the constant ${shown(tensor.name)} twice")
            constants[tensor.name] = check(tensor)
            known[tensor.name] = tensor
        }
        graph.nodes.forEach(::checkNode)
        return graph.tensors.mapNotNull { it.entries["location"] }.toSet()
    }

    private fun ints(name: String): List<Long>? = known[name]?.smallInts(data)

    // Constants

    /** Checks where a constant lies and that it is as large as its shape says; its elements. */
    private fun check(tensor: Tensor): Long {
        if (tensor.entries.isNotEmpty() || tensor.location != 0L) checkReference(tensor)
        val bits = if (tensor.kind in BITS.indices) BITS[tensor.kind.toInt()] else 0
        if (bits == 0) throw unsafe("a tensor of type ${tensor.kind}")
        if (tensor.dims.size > MAX_DIMENSIONS || tensor.dims.any { it < 0 }) {
            throw unsafe("a negative dimension, or more than $MAX_DIMENSIONS of them")
        }
        val count = product(tensor.dims)
        val size = times(count, bits.toLong()).let { it / 8 + if (it % 8 == 0L) 0 else 1 }
        val raw = tensor.raw
        val outside = tensor.entries.isNotEmpty()
        if (listOf(raw != null, tensor.hasTyped, outside).count { it } > 1) {
            throw unsafe("a constant whose data are there twice")
        }
        if (outside && tensor.kind !in IN_FILES) throw unsafe("a tensor of type ${tensor.kind} in another file")
        val right = when {
            outside -> tensor.entries.getValue("length").toLong() == size
            raw != null -> raw.last + 1L - raw.first == size
            // Two numbers of 4 bits share one element.
            else -> tensor.typed == count || (bits == 4 && tensor.typed == count / 2 + count % 2)
        }
        if (!right) throw unsafe("a constant of $count elements whose data are not as many")
        return count
    }

    private fun checkReference(tensor: Tensor) {
        val location = tensor.entries["location"] ?: ""
        val size = sizes[location]?.takeIf { location != "model.onnx" } ?: throw unsafePath("a reference to ${shown(location)}")
        val offset = number(tensor.entries["offset"] ?: "0")
        val length = number(tensor.entries["length"] ?: "none")
        if (offset + length > size) throw unsafePath("bytes $offset to ${offset + length} of $location ($size)")
        if (tensor.location != EXTERNAL) throw unsafePath("a reference that is not marked as one")
    }

    // Nodes

    private fun checkNode(node: Node) {
        checkAllowed(node)
        val count = constantElements(node)
        for (name in node.outputs) {
            if (name.isEmpty()) continue
            if (name in makers || name in constants) throw unsafe("the value ${shown(name)} made twice")
            makers[name] = node
            if (count != null) constants[name] = count
        }
        if (node.op == "Scan") checkScan(node)
    }

    private fun checkAllowed(node: Node) {
        val allowed = if (node.domain == "") STANDARD else if (node.domain == "com.microsoft") MICROSOFT else emptySet()
        if (node.op !in allowed) throw unsafe("the operator ${shown(node.op)} of ${shown(node.domain)}")
        for ((name, value) in node.attributes) {
            if (value is Graph && (node.op != "Scan" || name != "body")) throw unsafe("a graph in ${node.op}")
            if (value is Tensor) {
                if (value.entries.isNotEmpty() || value.location != 0L) {
                    checkReference(value)
                    throw unsafePath("a reference outside the graph's weights")
                }
                check(value)
            }
        }
        // Some releases of ONNX Runtime end the process at a division by zero.
        if ((node.op == "Div" || node.op == "Mod") && node.inputs.getOrNull(1)?.let(::ints)?.contains(0) == true) {
            throw unsafe("a division by zero")
        }
    }

    /** Elements, at most, of what a node makes of constants alone; null if it does not. */
    private fun constantElements(node: Node): Long? {
        if (node.op == "Scan") return null
        val given = node.inputs.filter { it.isNotEmpty() }.map { constants[it] ?: return null }
        if (node.op in AMPLIFYING) throw unsafe("${node.op} of constants alone")
        if (node.op == "Constant") return constant(node)
        val count = when (node.op) {
            "ConstantOfShape", "Expand", "Tile", "Range" -> filled(node, given)
            "Concat" -> given.fold(0L, ::plus)
            "Shape", "Size" -> 64
            in FIRST_INPUT -> given.firstOrNull() ?: 0
            "Gather" -> gathered(node, given)
            else -> product(given)
        }
        total = plus(total, count)
        if (count > limit || total > 16 * limit) throw unsafe("constants of $count elements that ${node.op} makes")
        return maxOf(count, 1)
    }

    private fun constant(node: Node): Long {
        val value = node.attributes.values.singleOrNull() ?: throw unsafe("a Constant without one value")
        if (value !is Tensor) return (value as? Numbers)?.count ?: 1
        node.outputs.forEach { known[it] = value }
        return product(value.dims)
    }

    private fun gathered(node: Node, given: List<Long>): Long {
        if (given.size != 2 || node.inputs.size != 2) throw unsafe("a Gather of ${node.inputs.size} inputs")
        val dims = known[node.inputs[0]]?.dims
        val axis = if ("axis" in node.attributes) node.attributes["axis"] as? Long else 0L
        if (dims == null || axis == null || axis !in -dims.size until dims.size) return product(given)
        return times(given[0] / maxOf(1, dims[Math.floorMod(axis, dims.size.toLong()).toInt()]), given[1])
    }

    /** Elements of what is filled, repeated or counted by numbers that the file holds. */
    private fun filled(node: Node, given: List<Long>): Long {
        val names = if (node.op == "Range") node.inputs.take(3) else node.inputs.takeLast(1)
        val values = names.flatMap { name ->
            ints(name) ?: throw unsafe("${node.op} by numbers that are not in the file")
        }.map { if (it == Long.MIN_VALUE) Long.MAX_VALUE else Math.abs(it) }
        if (node.op == "Range") return values.fold(0L, ::plus)
        return times(product(values.map { maxOf(1, it) }), if (given.size > 1) given[0] else 1)
    }

    // The exporter's Scan

    private fun checkScan(node: Node) {
        val body = node.attributes["body"]
        if (body !is Graph || node.attributes.keys != setOf("body", "num_scan_inputs")) {
            throw unsafe("a Scan with states, axes or directions")
        }
        val inputs = node.inputs.size.toLong()
        if (node.attributes["num_scan_inputs"] != inputs || body.inputs != inputs) throw unsafe("a Scan with states")
        if (body.outputs != 1L || node.outputs.size != 1) throw unsafe("a Scan with several outputs")
        if (body.tensors.isNotEmpty() || body.nodes.size > MAX_BODY_NODES) {
            throw unsafe("a Scan whose body is not the exporter's")
        }
        if (!node.inputs.all(::byHeads)) throw unsafe("a Scan whose turns are not groups of heads")
        for (inner in body.nodes) {
            if (inner.op == "Scan") throw unsafe("a Scan within a Scan")
            checkNode(inner)
        }
    }

    /** Whether a value's first axis is a number of heads divided by something. */
    private fun byHeads(value: String): Boolean {
        var name = value
        for ((op, place) in listOf("Reshape" to 1, "Concat" to 0, "Div" to 0)) {
            val node = makers[name]
            if (node == null || node.op != op || node.domain != "" || node.inputs.size <= place) return false
            if (op == "Concat" && node.attributes["axis"] != 0L) return false
            name = node.inputs[place]
        }
        return ints(name)?.singleOrNull() in 1L..MAX_HEADS
    }
}

private fun number(digits: String): Long {
    if (!Regex("[0-9]{1,18}").matches(digits)) throw unsafePath("an offset or length ${shown(digits)}")
    return digits.toLong()
}

// Arithmetic that ends at the largest number, which is more than anything may have.

private fun plus(a: Long, b: Long): Long = if (a > Long.MAX_VALUE - b) Long.MAX_VALUE else a + b

private fun times(a: Long, b: Long): Long = if (b != 0L && a > Long.MAX_VALUE / b) Long.MAX_VALUE else a * b

private fun product(values: List<Long>): Long = if (0L in values) 0 else values.fold(1L, ::times)

private fun unsafePath(found: String): UnsafePathError = UnsafePathError(
    "model.onnx: $found; expected external data within a file that guard.json lists; " +
        "likely a hostile bundle, or a data file that was renamed",
)
