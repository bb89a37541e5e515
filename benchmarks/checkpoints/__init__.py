"""Torch checkpoints that a fresh clone can make, to convert and to measure."""
