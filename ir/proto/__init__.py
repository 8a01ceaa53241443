"""ONNX's file format without the protobuf library: messages as plain objects, a reader, a writer.

with open(path, "rb") as file:
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
model = read_model(memoryview(data), path)
span = model.graph.initializer[0].raw_data      # Span(offset, length) in data: nothing is copied
"""
