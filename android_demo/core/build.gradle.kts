// Pure Kotlin: no Android class. ONNX Runtime's Java classes are the same for the JVM and for Android.
plugins {
    alias(libs.plugins.kotlin.jvm)
    `java-library`
}

kotlin {
    explicitApi()
    compilerOptions {
        jvmTarget = org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_11
        allWarningsAsErrors = true
        freeCompilerArgs.add("-Xstring-concat=inline")
    }
}

java {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
}

val checkout = rootDir.parentFile

// The tables of the views have one place, the Python package.
val tables by tasks.registering(Copy::class) {
    from(checkout.resolve("harmguard/core/views")) { include("unicode.json", "trigrams.txt") }
    into(layout.buildDirectory.dir("tables/dev/harmguard/core"))
}

sourceSets.main {
    resources.srcDir(tables.map { layout.buildDirectory.dir("tables").get() })
}

dependencies {
    compileOnly(libs.onnxruntime.jvm)
    testImplementation(libs.onnxruntime.jvm)
    testImplementation(libs.kotlin.test.junit5)
    testImplementation(libs.junit.jupiter)
    testRuntimeOnly(libs.junit.launcher)
    testRuntimeOnly(platform(libs.junit.bom))
}

tasks.test {
    useJUnitPlatform()
    systemProperty("checkout", checkout.path)
}
