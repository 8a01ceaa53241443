"""ONNX's file format without the protobuf library: messages as plain objects, a reader and a writer.

    from geoc.ir.proto.read import read_model
    from geoc.ir.proto.write import encode_model

    with open("model.onnx", "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    model = read_model(data, "model.onnx")
    span = model.graph.initializer[0].raw_data  # Span(offset, length) in data: nothing is copied
    for chunk in encode_model(model):  # bytes, and the same spans between them
        ...
"""
