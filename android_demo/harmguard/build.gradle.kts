plugins {
    alias(libs.plugins.android.library)
}

android {
    namespace = "dev.harmguard"
    compileSdk = libs.versions.compileSdk.get().toInt()
    defaultConfig {
        minSdk = libs.versions.minSdk.get().toInt()
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    // The tests need assets, which Gradle gives to no unit test of a library: Maven runs them.
    sourceSets.named("test") {
        java.setSrcDirs(emptyList<File>())
        kotlin.setSrcDirs(emptyList<File>())
    }
}

kotlin {
    explicitApi()
    compilerOptions {
        allWarningsAsErrors = true
        freeCompilerArgs.add("-Xstring-concat=inline")
    }
}

dependencies {
    api(project(":core"))
    api(libs.coroutines.core)
    implementation(libs.onnxruntime.android)
}
