package dev.harmguard.bench

import java.io.File
import java.io.IOException

/** Memory of this process in MB, as the kernel tells it; null is what it does not tell. */
public object Memory {
    /** Resident, and backed by no file. */
    public fun anonymous(): Long? = megabytes("status", "RssAnon")

    /** All that `harmguard bench` tells of a process. */
    public fun all(): Map<String, Long?> =
        mapOf(
            "anonymous" to anonymous(),
            "file" to megabytes("status", "RssFile"),
            "pss" to megabytes("smaps_rollup", "Pss"),
            "peak" to megabytes("status", "VmHWM"),
            "peak_anonymous" to null,
        )

    private fun megabytes(
        file: String,
        name: String,
    ): Long? =
        try {
            val line = File("/proc/self/$file").readLines().find { it.startsWith("$name:") }
            line?.filter(Char::isDigit)?.toLong()?.div(KILOBYTES)
        } catch (_: IOException) {
            null
        }

    private const val KILOBYTES = 1024
}
