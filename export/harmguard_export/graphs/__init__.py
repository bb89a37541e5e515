"""ONNX graphs of our own, written for CPUs: one module a family."""
