"""Committed inputs of the benchmarks, and what made them."""
