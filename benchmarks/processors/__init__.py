"""One guard on other processors and in smaller builds of onnxruntime."""
