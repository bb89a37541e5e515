"""ONNX graphs of our own, written for CPUs: a module for each family."""
