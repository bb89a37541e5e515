import groovy.json.JsonSlurper
import java.security.MessageDigest

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.compose)
}

/** Lays the guard of the Python package out as assets, every byte checked (as maven/bundle.py does). */
@CacheableTask
abstract class BundleAssets : DefaultTask() {
    @get:InputDirectory
    @get:PathSensitive(PathSensitivity.RELATIVE)
    abstract val bundle: DirectoryProperty

    @get:Input
    abstract val sha256: Property<String>

    @get:OutputDirectory
    abstract val assets: DirectoryProperty

    @TaskAction
    fun lay() {
        val source = bundle.get().asFile
        val target = assets.get().dir("harmguard/mini").asFile
        target.deleteRecursively()
        target.mkdirs()
        val manifest = source.resolve("guard.json")
        copy(manifest, sha256.get(), target)
        val files = (JsonSlurper().parse(manifest) as Map<*, *>)["files"] as Map<*, *>
        for ((name, entry) in files) copy(source.resolve("$name"), (entry as Map<*, *>)["sha256"] as String, target)
    }

    private fun copy(
        file: File,
        expected: String,
        target: File,
    ) {
        val content = file.readBytes()
        val found = MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }
        check(found == expected) { "$file has sha256 $found; expected $expected" }
        target.resolve(file.name).writeBytes(content)
    }
}

val bundleAssets =
    tasks.register<BundleAssets>("bundleAssets") {
        bundle = rootDir.parentFile.resolve("harmguard/models/mini")
        sha256 = providers.gradleProperty("harmguard.bundle.sha256")
        assets = layout.buildDirectory.dir("generated/bundleAssets")
    }

androidComponents {
    onVariants { it.sources.assets?.addGeneratedSourceDirectory(bundleAssets, BundleAssets::assets) }
}

android {
    namespace = "dev.harmguard.demo"
    compileSdk = libs.versions.compileSdk.get().toInt()
    defaultConfig {
        applicationId = "dev.harmguard.demo"
        minSdk = libs.versions.minSdk.get().toInt()
        targetSdk = libs.versions.targetSdk.get().toInt()
        versionCode = 1
        versionName = "0.1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    buildFeatures { compose = true }
    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
        }
    }
    // Stored, so that they are copied without being inflated.
    androidResources { noCompress += listOf("onnx", "data", "json", "jsonl") }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    testOptions.unitTests {
        isIncludeAndroidResources = true
        all {
            it.systemProperty("robolectric.pixelCopyRenderMode", "hardware")
            it.systemProperty("screens", layout.buildDirectory.dir("screens").get().asFile.path)
        }
    }
}

dependencies {
    implementation(project(":harmguard"))
    implementation(libs.activity.compose)
    implementation(libs.core.ktx)
    implementation(libs.compose.foundation)
    implementation(libs.lifecycle.runtime.compose)
    implementation(libs.lifecycle.viewmodel)
    implementation(libs.material3)
    implementation(libs.coroutines.android)
    debugImplementation(libs.compose.ui.test.manifest)
    testImplementation(libs.onnxruntime.jvm)
    testImplementation(libs.compose.ui.test)
    testImplementation(libs.robolectric)
    testImplementation(libs.junit.vintage)
    androidTestImplementation(libs.androidx.test.junit)
    androidTestImplementation(libs.androidx.test.runner)
    androidTestImplementation(libs.compose.ui.test)
    androidTestImplementation(libs.espresso.core)
}

configurations.matching { it.name.endsWith("UnitTestRuntimeClasspath") }.configureEach {
    exclude("com.microsoft.onnxruntime", "onnxruntime-android")
}
