"""What runs a model on this device: onnxruntime, imported here and nowhere else."""
