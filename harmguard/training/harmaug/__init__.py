"""HarmAug end to end: generate, respond, label, distil, evaluate (arXiv 2410.01524).

Each stage reads and writes files in a folder of its own and goes on where it was stopped.
"""
