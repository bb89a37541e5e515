package dev.harmguard

import android.content.Context
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException

@RunWith(RobolectricTestRunner::class)
class AssetBundleTest {
    private val app: Context = RuntimeEnvironment.getApplication()
    private val place = File(app.filesDir, "harmguard/harmguard-mini")

    private val asset = app.assets.open("harmguard/mini/guard.json")
    private val manifest = JSONObject(asset.use { it.readBytes().decodeToString() })
    private val weights = manifest.getJSONObject("files").getJSONObject("model.onnx.data").getLong("size")

    private fun open(asset: String = HarmGuard.ASSETS) = AssetBundle(app, asset).open()

    private fun folders() = place.listFiles().orEmpty().filter(File::isDirectory)

    @Test
    fun `copied once, under its hash`() {
        val folder = open().folder
        assertEquals(listOf(folder), folders())
        assertTrue(folder.name.matches(Regex("[0-9a-f]{64}")))
        val model = File(folder, "model.onnx.data")
        assertTrue(model.setLastModified(1_000_000))
        assertEquals(folder, open().folder)
        assertEquals(1_000_000, model.lastModified())
    }

    @Test
    fun `what an interrupted copy left is not used`() {
        val name = open().folder.name
        val folder = File(place, name)
        // As far as a copy came when the process was killed.
        val part = File(place, "$name.part")
        assertTrue(folder.renameTo(part))
        assertTrue(File(part, "tokenizer.json").delete())
        File(part, "model.onnx.data").writeBytes(ByteArray(1000))
        assertEquals(folder, open().folder)
        assertEquals(listOf(folder), folders())
        assertEquals(weights, File(folder, "model.onnx.data").length())
    }

    @Test
    fun `a damaged copy is made anew`() {
        val folder = open().folder
        File(folder, "model.onnx.data").writeBytes(ByteArray(1000))
        assertEquals(weights, File(open().folder, "model.onnx.data").length())
        assertTrue(File(folder, "guard.json").delete())
        assertTrue(File(open().folder, "guard.json").isFile)
    }

    @Test
    fun `what an update of the app replaced is removed`() {
        val old = File(place, "0".repeat(64))
        assertTrue(old.mkdirs())
        File(old, "guard.json").writeText("{}")
        assertEquals(listOf(open().folder), folders())
    }

    @Test
    fun `a full disk is named, and leaves nothing`() {
        // The kernel refuses to let this process write beyond 4 MB of a file, as it does on a full disk.
        val pid = ProcessHandle.current().pid().toString()
        assumeTrue(File("/usr/bin/prlimit").canExecute())
        run("prlimit", "--pid", pid, "--fsize=4194304:")
        try {
            val error = assertThrows(PrepareError::class.java) { open() }
            assertTrue(error.cause is IOException)
            assertTrue(error.message.orEmpty(), "MB are free" in error.message.orEmpty())
        } finally {
            run("prlimit", "--pid", pid, "--fsize=unlimited:")
        }
        assertEquals(emptyList<File>(), folders())
        assertTrue(open().folder.isDirectory)
    }

    @Test
    fun `an asset that is compressed is copied all the same`() {
        app.assets.openFd("harmguard/mini/model.onnx.data").use { assertEquals(weights, it.length) }
        assertThrows(FileNotFoundException::class.java) { app.assets.openFd("compressed/model.onnx.data") }
        assertEquals(weights, File(open("compressed").folder, "model.onnx.data").length())
    }

    @Test
    fun `an asset that is not there is named`() {
        val error = assertThrows(PrepareError::class.java) { open("nowhere/mini") }
        assertTrue("nowhere/mini" in error.message.orEmpty())
        assertFalse(File(app.filesDir, "harmguard/nowhere-mini").listFiles().orEmpty().any(File::isDirectory))
    }

    @Test
    fun `two at once make one copy`() {
        val threads = List(4) { Thread { open() } }
        threads.forEach(Thread::start)
        threads.forEach(Thread::join)
        assertEquals(1, folders().size)
    }

    private fun run(vararg command: String) {
        assertEquals(0, ProcessBuilder(*command).inheritIO().start().waitFor())
    }
}
