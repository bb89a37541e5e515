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
    testOptions.unitTests {
        isIncludeAndroidResources = true
        all { it.systemProperty("checkout", rootDir.parent) }
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
    testImplementation(libs.onnxruntime.jvm)
    testImplementation(libs.coroutines.test)
    testImplementation(libs.robolectric)
    testImplementation(libs.junit.vintage)
}

// On the JVM the library of the JVM is loaded.
configurations.matching { it.name.endsWith("UnitTestRuntimeClasspath") }.configureEach {
    exclude("com.microsoft.onnxruntime", "onnxruntime-android")
}
