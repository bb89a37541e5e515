"""Shrink, package, align and sign what Maven compiled; run the library as shrunk by its own rules.

    python3 maven/pack.py TARGET --tools PATH --program PATH --android JAR
                                 --library FOLDER --bundle FOLDER

The rules are those that the Android Gradle plugin would take: every AAR's, aapt2's for the
manifest, and the library's consumer-rules.pro; R8 runs in full mode. TARGET/app.apk has no
native library, because ONNX Runtime's for Android comes as an AAR that Gradle alone brings.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "harmguard" / "consumer-rules.pro"
JAVA = Path(os.environ.get("JAVA_HOME") or Path(shutil.which("java") or "").resolve().parents[1])
PASSWORD = "throw-away"
DEVICE = """
# Parts of the system that some devices have; the SDK has them beside android.jar.
-dontwarn androidx.window.extensions.**
-dontwarn androidx.window.sidecar.**
# An annotation for a tool of coroutines' own build.
-dontwarn org.codehaus.mojo.animal_sniffer.IgnoreJRERequirement
"""


def main() -> None:
    """Make both, and say the sizes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("target", type=Path)
    for name in ("tools", "program", "android", "library", "bundle"):
        made.add_argument(f"--{name}", required=True)
    given = made.parse_args()
    target = given.target / "pack"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    parts = [part for part in given.program.split(os.pathsep) if part and Path(part).exists()]
    program = [classes_of(Path(part), target / f"{n}.jar") for n, part in enumerate(parts)]
    shrunk_library(given, target, parts, program)
    app(given, target, program)


def classes_of(part: Path, jar: Path) -> Path:
    """A jar of a folder or jar: classes, what core reads beside them, and rules for R8."""
    with ZipFile(jar, "w", ZIP_DEFLATED, compresslevel=1) as out:
        if part.is_dir():
            for file in sorted(part.rglob("*")):
                name = file.relative_to(part).as_posix()
                if file.is_file() and wanted(name):
                    out.write(file, name)
            return jar
        with ZipFile(part) as source:
            for name in source.namelist():
                if wanted(name):
                    out.writestr(name, source.read(name))
    return jar


def wanted(name: str) -> bool:
    """Whether a file of the class path is part of an app, or tells R8 what is."""
    if name.startswith("META-INF/"):
        return name.startswith(("META-INF/proguard/", "META-INF/com.android.tools/"))
    return name.endswith(".class") or name.startswith("dev/harmguard/")


def r8(given: argparse.Namespace, out: Path, rules: list[Path], *arguments: str | Path) -> None:
    """Run R8 in full mode; the framework and the JDK, for java.*, are there already."""
    # Half of the processor's time of a JVM that also compiles itself for longer runs.
    short = ["-XX:+UseParallelGC", "-XX:TieredStopAtLevel=1"]
    command: list[str | Path] = [JAVA / "bin" / "java", "-Xmx3g", *short, "-cp", given.tools]
    # Rules of libraries that match nothing here are no news.
    command += ["com.android.tools.r8.R8", "--map-diagnostics", "info", "none"]
    command += ["--release", "--output", out]
    command += ["--lib", given.android, "--lib", JAVA]
    for rule in rules:
        command += ["--pg-conf", rule]
    subprocess.run([*command, *arguments], check=True)


def shrunk_library(
    given: argparse.Namespace, target: Path, parts: list[str], program: list[Path]
) -> None:
    """Shrink a program of one class with the library, and compare what both print."""
    main_class = "dev.harmguard.ShrunkMain"
    jar = target / "main.jar"
    with ZipFile(jar, "w") as out:
        name = main_class.replace(".", "/") + ".class"
        out.write(Path(given.library) / "test-classes" / name, name)
    keep = target / "main.pro"
    keep.write_text(f"-keep class {main_class} {{ public static void main(...); }}\n")
    given_parts = [jar, *(one for one, part in zip(program, parts, strict=True) if needed(part))]
    r8(given, target / "shrunk.jar", [RULES, keep], "--classfile", *given_parts)
    # The native library is a resource of its jar, and no class.
    runtime = next(part for part in parts if "onnxruntime" in Path(part).name)
    whole = said(main_class, given.bundle, [*map(str, given_parts), runtime, given.android])
    shrunk = said(main_class, given.bundle, [str(target / "shrunk.jar"), runtime, given.android])
    if shrunk != whole or "error dev.harmguard.core.EmptyPromptError" not in shrunk:
        sys.exit(f"shrunk, the library says\n{shrunk}\nin place of\n{whole}")
    before = sum(one.stat().st_size for one in given_parts)
    after = (target / "shrunk.jar").stat().st_size
    say(f"the library runs shrunk: {before:,} -> {after:,} bytes of jars, the same results")


def needed(part: str) -> bool:
    """Whether the library needs this part of the app's class path."""
    path = Path(part)
    if path.is_dir():
        return path.parent.parent.name in ("core", "harmguard")
    return path.name.startswith(
        ("annotations", "kotlin-stdlib", "kotlinx-coroutines-core", "onnxruntime")
    )


def said(main_class: str, bundle: str, path: list[str]) -> str:
    """What the program prints."""
    command = [JAVA / "bin" / "java", "-cp", os.pathsep.join(path), main_class, bundle]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def app(given: argparse.Namespace, target: Path, program: list[Path]) -> None:
    """Shrink the app, put its code into the APK, and sign it."""
    aars = Path(given.android).parent.parent / "open"
    device = target / "device.pro"
    device.write_text(DEVICE)
    rules = [*sorted(aars.glob("*/proguard.txt")), RULES, given.target / "manifest.pro", device]
    r8(given, target / "code.zip", rules, "--min-api", "26", *program)
    unsigned, signed = target / "unsigned.apk", given.target / "app.apk"
    shutil.copy(given.target / "resources.apk", unsigned)
    with ZipFile(target / "code.zip") as code, ZipFile(unsigned, "a", ZIP_DEFLATED) as out:
        for name in code.namelist():
            if not name.startswith("META-INF/"):
                # Dex files are mapped where they are stored: what Gradle does from API 28 on.
                how = ZIP_STORED if name.endswith(".dex") else ZIP_DEFLATED
                out.writestr(name, code.read(name), how)
    keys = target / "keys.p12"
    command: list[str | Path] = [JAVA / "bin" / "keytool", "-genkeypair", "-keystore", keys]
    command += ["-storetype", "PKCS12", "-storepass", PASSWORD, "-alias", "throw-away"]
    command += ["-keyalg", "RSA", "-keysize", "2048", "-dname", "CN=throw-away", "-validity", "9"]
    subprocess.run(command, check=True, capture_output=True)
    java = [JAVA / "bin" / "java", "-cp", given.tools, HERE / "Pack.java"]
    subprocess.run([*java, unsigned, signed, keys, PASSWORD], check=True)
    sizes = sizes_of(signed)
    (given.target / "apk.json").write_text(json.dumps(sizes, indent=2) + "\n")
    say("APK, bytes as packed: " + ", ".join(f"{part} {size:,}" for part, size in sizes.items()))


def say(text: str) -> None:
    """Tell whoever ran this."""
    sys.stdout.write(f"{text}\n")


def sizes_of(apk: Path) -> dict[str, int]:
    """Bytes of an APK by part, as packed."""
    parts = {"guard": 0, "code": 0, "tables": 0, "resources": 0}
    with ZipFile(apk) as archive:
        for one in archive.infolist():
            part = "resources"
            if one.filename.startswith("assets/"):
                part = "guard"
            elif one.filename.endswith(".dex"):
                part = "code"
            elif one.filename.startswith("dev/"):
                part = "tables"
            parts[part] += one.compress_size
    return {**parts, "all": apk.stat().st_size}


if __name__ == "__main__":
    main()
