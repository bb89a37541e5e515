"""Read by PyInstaller: the embedded guard, and what is imported by name alone."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

datas = collect_data_files("harmguard", includes=["models/**"]) + copy_metadata("harmguard")
hiddenimports = ["harmguard.guard"]
# Training and export are commands of the whole installation, not of a frozen program.
excludedimports = ["harmguard.training", "harmguard_export"]
