"""The `geoc` command, the Python API behind it, and what both drive: checking, repair, reports.

    $ geoc bert.onnx -O2 -o bert.geoc.onnx

    >>> from geoc.tools.api import compile
    >>> print(compile("bert.onnx", "bert.geoc.onnx"))  # doctest: +SKIP
"""
