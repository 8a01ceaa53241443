"""TensorRT: strongly typed ONNX within what its parser and builder take."""
