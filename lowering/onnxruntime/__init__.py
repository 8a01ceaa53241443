"""What onnxruntime's CPU provider can run, asked of onnxruntime itself."""
