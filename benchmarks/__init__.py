"""Benchmarks of harmguard, run from the checkout as ``python -m benchmarks.<name>``."""
