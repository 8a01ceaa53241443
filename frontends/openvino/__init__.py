"""OpenVINO's intermediate representation, .xml with the graph and .bin with the weights, to IR. Needs no package.

    model = load_openvino("model.xml")

Weights stay in the .bin file: a constant is a span of a read-only map. Inputs and outputs are called as their tensors
are, locations are the friendly names of layers. Variables (ReadValue, Assign) become inputs and outputs.
"""

from __future__ import annotations

import os

from ...ir.core import Model
from ...ir.errors import FormatError
from ...ir.tensor import MappedFile
from ..reading import reading
from .importer import Importer
from .xml import read_net


def load_openvino(source: str | os.PathLike[str]) -> Model:
    """Import MODEL.xml, with the weights of MODEL.bin beside it.

    Raises FormatError for what is not such a file or lies outside its weights, InvalidModel for a graph that breaks
    the rules, UnsupportedModel for operators that there is no form for, OSError where the file cannot be read.
    """
    path = os.fspath(source)
    with reading(path):
        with open(path, "rb") as file:
            net = read_net(file.read())
        data = os.path.splitext(path)[0] + ".bin"
        if not net.has_weights:
            weights = None
        elif os.path.isfile(data):
            weights = MappedFile(data)
        else:
            raise FormatError(f"its weights are missing: there is no {os.path.basename(data)} beside it")
        model = Importer(net, weights).run()
    model.source = path
    return model
