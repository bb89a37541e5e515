package dev.harmguard.core.bundle

import dev.harmguard.core.BundleFileError
import dev.harmguard.core.UnsafePathError
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.channels.Channels
import java.nio.file.Files
import java.nio.file.LinkOption.NOFOLLOW_LINKS
import java.nio.file.NoSuchFileException
import java.nio.file.Path
import java.nio.file.StandardOpenOption.READ
import java.nio.file.attribute.BasicFileAttributes
import java.nio.file.attribute.FileTime
import java.security.MessageDigest

/** What tells a file and its content from another; the key is device and number. */
internal data class Identity(val key: Any?, val size: Long, val modified: FileTime)

/**
 * Gives [use] the file [name] of [folder], open for reading; it must be a regular file of the
 * folder. BundleFileError for a file that is not there, UnsafePathError for any other kind.
 */
internal fun <T> openRegular(folder: File, name: String, use: (InputStream, Identity) -> T): T {
    val path = folder.toPath().resolve(name)
    try {
        val before = identity(path, name)
        Files.newByteChannel(path, setOf(READ, NOFOLLOW_LINKS)).use { channel ->
            if (identity(path, name) != before) throw changed(name)
            return use(Channels.newInputStream(channel), before)
        }
    } catch (_: NoSuchFileException) {
        throw BundleFileError("$name is missing; expected it as $MANIFEST lists it; likely an unfinished copy")
    } catch (error: IOException) {
        throw BundleFileError(
            "$name cannot be read (${error.javaClass.simpleName}); expected a file that this user may read; " +
                "likely its permissions, or it was replaced at this moment",
        )
    }
}

private fun identity(path: Path, name: String): Identity {
    val found = Files.readAttributes(path, BasicFileAttributes::class.java, NOFOLLOW_LINKS)
    if (found.isSymbolicLink) {
        throw UnsafePathError("$name is a symbolic link; expected a regular file; likely a cache folder: copy it with `cp -rL`")
    }
    if (!found.isRegularFile) {
        throw UnsafePathError("$name is not a regular file; expected one; likely a hostile bundle")
    }
    return Identity(found.fileKey(), found.size(), found.lastModifiedTime())
}

/** What is left in the file, and at most [limit] bytes of it. */
internal fun readUpTo(file: InputStream, limit: Int): ByteArray {
    val data = ByteArray(limit)
    var done = 0
    while (done < limit) {
        val count = file.read(data, done, limit - done)
        if (count < 0) break
        done += count
    }
    return if (done == limit) data else data.copyOf(done)
}

/** Hex sha256 of the file, which has [size] bytes; BundleFileError if it has others by now. */
internal fun hashExactly(file: InputStream, name: String, size: Long): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val buffer = ByteArray(minOf(size + 1, 1L shl 18).toInt())
    var done = 0L
    while (done <= size) {
        val count = file.read(buffer)
        if (count < 0) break
        digest.update(buffer, 0, count)
        done += count
    }
    if (done != size) throw changed(name)
    return hex(digest.digest())
}

internal fun sha256(data: ByteArray): String = hex(MessageDigest.getInstance("SHA-256").digest(data))

private fun hex(bytes: ByteArray): String {
    val out = StringBuilder(2 * bytes.size)
    for (byte in bytes) {
        out.append(Character.forDigit(byte.toInt() shr 4 and 15, 16)).append(Character.forDigit(byte.toInt() and 15, 16))
    }
    return out.toString()
}

/** BundleFileError unless [name] is still the file, and content, that was checked. */
internal fun checkUnchanged(folder: File, name: String, expected: Identity) =
    openRegular(folder, name) { _, found -> if (found != expected) throw changed(name) }

internal fun changed(name: String): BundleFileError = BundleFileError(
    "$name was changed while the bundle was loaded; expected the file whose hash was checked; " +
        "likely a copy onto the folder: write the new bundle beside it and rename it",
)
