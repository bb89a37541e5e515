"""Recipes of precision, and the rounding of weights and activations that they ask for."""
