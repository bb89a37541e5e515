"""A device's own copy of a bundle: weights packed for the processor and mapped from disk."""
