package dev.harmguard

import android.content.Context
import dev.harmguard.core.BundleFileError
import dev.harmguard.core.BundleNotFoundError
import dev.harmguard.core.bundle.Bundle
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.RandomAccessFile
import java.security.MessageDigest

/**
 * A bundle among an app's assets, and its copy among the app's files: an asset has no path, and a model
 * that is opened by path is mapped.
 *
 * The copy is a folder named after the sha256 of the manifest, which holds those of all other files. It is
 * written aside and renamed when it is complete, so that one that was interrupted is never used; what one
 * left behind, and copies of a bundle that an update of the app replaced, are removed. [Bundle.open] checks
 * the copy at each opening, and one that was damaged since is made anew.
 */
internal class AssetBundle(
    private val context: Context,
    private val asset: String,
) {
    private val place = File(File(context.filesDir, FOLDER), asset.replace('/', '-'))

    fun open(): Bundle =
        synchronized(LOCK) {
            named {
                if (!place.mkdirs() && !place.isDirectory) throw IOException("no folder can be made")
                // Another process of the app may be copying, too.
                RandomAccessFile(File(place, "lock"), "rw").use { file -> file.channel.lock().use { openAlone() } }
            }
        }

    private fun openAlone(): Bundle {
        val folder = File(place, sha256(read(MANIFEST)))
        if (!folder.isDirectory) copy(folder)
        val bundle =
            try {
                Bundle.open(folder)
            } catch (error: BundleFileError) {
                copyAgain(folder, error)
            } catch (error: BundleNotFoundError) {
                copyAgain(folder, error)
            }
        place.listFiles().orEmpty().forEach { if (it.isDirectory && it != folder) it.deleteRecursively() }
        return bundle
    }

    /** A copy that is not what was copied is damaged; assets that are not are what they are. */
    private fun copyAgain(
        folder: File,
        error: Exception,
    ): Bundle {
        if (!folder.deleteRecursively()) throw error
        copy(folder)
        return Bundle.open(folder)
    }

    private fun copy(folder: File) {
        val aside = File(place, "${folder.name}.part")
        aside.deleteRecursively()
        try {
            if (!aside.mkdirs()) throw IOException("no folder can be made")
            context.assets
                .list(asset)
                .orEmpty()
                .forEach { copyFile(it, File(aside, it)) }
            if (!aside.renameTo(folder)) throw IOException("the folder cannot be renamed")
        } finally {
            aside.deleteRecursively()
        }
    }

    private fun copyFile(
        name: String,
        file: File,
    ) {
        context.assets.open("$asset/$name").use { input ->
            FileOutputStream(file).use {
                input.copyTo(it, BUFFER)
                // Before the rename: after a crash a folder with its name has all its bytes.
                it.fd.sync()
            }
        }
    }

    private fun read(name: String): ByteArray = context.assets.open("$asset/$name").use { it.readBytes() }

    private fun sha256(bytes: ByteArray): String = MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }

    private inline fun <T> named(work: () -> T): T =
        try {
            work()
        } catch (error: IOException) {
            val free = context.filesDir.usableSpace shr MEGABYTE
            throw PrepareError(
                "the bundle among the assets at $asset cannot be copied to the app's files: ${error.message}; $free MB are " +
                    "free; likely no such asset, or a full disk",
                error,
            )
        }

    private companion object {
        const val FOLDER = "harmguard"
        const val MANIFEST = "guard.json"
        const val BUFFER = 1 shl 16
        const val MEGABYTE = 20
        val LOCK = Any()
    }
}
