"""Small TFLite files, written through the published schema (package tflite), which shares nothing with the reader."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import tflite

# Versions of operators that LiteRT has no first one of.
VERSIONS = {"BROADCAST_TO": 2}
TYPES = {"complex64": 8, "float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}


class File:
    """One model of one graph, part by part; `data()` are the bytes of the file.

    Tensors are numbers: `tensor` for what is computed, `const` for data. `op` returns its result.
    """

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)
        self.buffers: list[bytes] = [b""]
        self.codes: list[tuple[int, str]] = []
        self.graphs: list[dict[str, list[int]]] = []
        self.graph()

    def graph(self) -> None:
        """What follows belongs to another subgraph."""
        self.graphs.append({"tensors": [], "operators": [], "inputs": [], "outputs": []})

    def table(self, name: str, **fields: Any) -> int:
        """A table of the schema; strings, arrays and lists of tables become vectors."""
        b = self.builder
        placed = {key: self._placed(value) for key, value in fields.items() if value is not None}
        getattr(tflite, f"{name}Start")(b)
        for key, value in placed.items():
            getattr(tflite, f"{name}Add{key}")(b, value)
        found: int = getattr(tflite, f"{name}End")(b)
        return found

    def _placed(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.builder.CreateString(value)
        if isinstance(value, np.ndarray):
            return self.builder.CreateNumpyVector(value)
        if isinstance(value, list):
            self.builder.StartVector(4, len(value), 4)
            for offset in reversed(value):
                self.builder.PrependUOffsetTRelative(offset)
            return self.builder.EndVector()
        return value

    def tensor(self, dtype: str | int, shape: tuple[int, ...], *, buffer: int = 0, scale: Any = None, zero: Any = 0,
               axis: int = 0, sparsity: int | None = None, signature: tuple[int, ...] | None = None,
               name: str | None = None, variable: bool = False) -> int:  # fmt: skip
        """A tensor, quantized where it has a scale."""
        tensors = self.graphs[-1]["tensors"]
        quantization = None
        if scale is not None:
            scales = np.atleast_1d(np.array(scale, np.float32))
            zeros = np.broadcast_to(np.array(zero, np.int64), scales.shape).copy()
            quantization = self.table("QuantizationParameters", Scale=scales, ZeroPoint=zeros, QuantizedDimension=axis)
        tensors.append(
            self.table(
                "Tensor",
                Shape=np.array(shape, np.int32),
                Type=dtype if isinstance(dtype, int) else TYPES[dtype],
                Buffer=buffer,
                Name=name if name is not None else f"t{len(tensors)}",
                Quantization=quantization,
                Sparsity=sparsity,
                IsVariable=variable or None,
                ShapeSignature=None if signature is None else np.array(signature, np.int32),
            )
        )
        return len(tensors) - 1

    def const(self, array: Any, shape: tuple[int, ...] | None = None, wide: bool = False, **more: Any) -> int:
        """A tensor with data; numpy's wide types as narrow ones unless they are wanted."""
        array = np.asarray(array)
        array = array.astype(np.int32) if array.dtype == np.int64 and not wide else array
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        self.buffers.append(array.tobytes())
        return self.tensor(array.dtype.name, shape or array.shape, buffer=len(self.buffers) - 1, **more)

    def input(self, dtype: str, shape: tuple[int, ...], **more: Any) -> int:
        index = self.tensor(dtype, shape, **more)
        self.graphs[-1]["inputs"].append(index)
        return index

    def op(self, name: str, inputs: list[int], outputs: list[int], options: str = "", custom: bytes = b"", **fields: Any) -> int:
        """An operator (a custom one's name in lower case), with its options; the first of its results."""
        code = getattr(tflite.BuiltinOperator, name, 32)
        key = (code, name if code == 32 else "")
        if key not in self.codes:
            self.codes.append(key)
        self.graphs[-1]["operators"].append(
            self.table(
                "Operator",
                OpcodeIndex=self.codes.index(key),
                Inputs=np.array(inputs, np.int32),
                Outputs=np.array(outputs, np.int32),
                BuiltinOptionsType=getattr(tflite.BuiltinOptions, options) if options else None,
                BuiltinOptions=self.table(options, **fields) if options else None,
                CustomOptions=np.frombuffer(custom, np.uint8) if custom else None,
            )
        )
        return outputs[0] if outputs else -1

    def composite(self, inputs: list[int], outputs: list[int], name: str, subgraph: int) -> int:
        """An operator of the second union, which the package does not have: the table of its name and its subgraph."""
        b = self.builder
        shown = b.CreateString(name)
        b.StartObject(5)
        b.PrependUOffsetTRelativeSlot(0, shown, 0)
        b.PrependInt32Slot(1, subgraph, 0)
        options = b.EndObject()
        self.codes.append((206, ""))
        vectors = [b.CreateNumpyVector(np.array(numbers, np.int32)) for numbers in (inputs, outputs)]
        b.StartObject(13)
        b.PrependUint32Slot(0, len(self.codes) - 1, 0)
        for slot, vector in enumerate(vectors, 1):
            b.PrependUOffsetTRelativeSlot(slot, vector, 0)
        b.PrependUint8Slot(11, 21, 0)
        b.PrependUOffsetTRelativeSlot(12, options, 0)
        self.graphs[-1]["operators"].append(b.EndObject())
        return outputs[0]

    def results(self, *outputs: int) -> None:
        """What the graph that is being made gives."""
        self.graphs[-1]["outputs"] = list(outputs)

    def data(self, *outputs: int) -> bytes:
        """The file, whose first graph has these outputs."""
        self.graphs[0]["outputs"] = list(outputs)
        graphs = [
            self.table(
                "SubGraph",
                Tensors=graph["tensors"],
                Operators=graph["operators"],
                Inputs=np.array(graph["inputs"], np.int32),
                Outputs=np.array(graph["outputs"], np.int32),
                Name=f"graph{index}",
            )
            for index, graph in enumerate(self.graphs)
        ]
        versions = {getattr(tflite.BuiltinOperator, name): version for name, version in VERSIONS.items()}
        codes = [
            self.table("OperatorCode", DeprecatedBuiltinCode=min(code, 127), BuiltinCode=code, CustomCode=name or None,
                       Version=versions.get(code, 1))
            for code, name in self.codes
        ]  # fmt: skip
        buffers = [self.table("Buffer", Data=np.frombuffer(d, np.uint8) if d else None) for d in self.buffers]
        model = self.table("Model", Version=3, OperatorCodes=codes, Subgraphs=graphs, Buffers=buffers, Description="made for a test")
        self.builder.Finish(model, b"TFL3")
        return bytes(self.builder.Output())
