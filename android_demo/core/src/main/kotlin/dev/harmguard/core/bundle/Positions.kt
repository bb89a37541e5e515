package dev.harmguard.core.bundle

import dev.harmguard.core.GraphMismatchError

/**
 * Raises GraphMismatchError for a table of positions that is cut to the input's length and has
 * fewer rows than [maxTokens]: a stored tensor, sliced from 0 to a length that is computed.
 */
internal fun checkPositions(graph: Graph, data: ByteArray, maxTokens: Int) {
    val tensors = graph.tensors.associateBy { it.name }
    for (node in graph.nodes) {
        if (node.op != "Slice" || node.inputs.size != 4) continue
        val (table, begin, end, axis) = node.inputs
        if (table !in tensors || begin !in tensors || axis !in tensors || end in tensors) continue
        val dims = tensors.getValue(table).dims
        val place = tensors.getValue(axis).smallInts(data)?.firstOrNull() ?: continue
        if (tensors.getValue(begin).smallInts(data) != listOf(0L) || place !in -dims.size until dims.size) continue
        val rows = dims[Math.floorMod(place, dims.size.toLong()).toInt()]
        if (rows < maxTokens) {
            throw GraphMismatchError(
                "model.onnx: ${shown(table)} has $rows rows; expected at least max_tokens, $maxTokens; " +
                    "likely a max_tokens of another model",
            )
        }
    }
}
