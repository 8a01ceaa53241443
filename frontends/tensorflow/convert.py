"""A SavedModel's folder or a Keras file to ONNX: ``python -I convert.py SOURCE TARGET``, run by another interpreter.

Imports nothing of geoc. The last line on stderr is the reason where it fails; exit code 3: a package is missing.
"""

from __future__ import annotations

import os
import sys
import tempfile

OPSET = 18  # the newest that tf2onnx 1.17 writes


def main(source: str, target: str) -> None:
    """Write TARGET. A Keras file is exported to a SavedModel first, which keeps the names of its inputs."""
    from tf2onnx import convert

    with tempfile.TemporaryDirectory(prefix="geoc-keras-") as scratch:
        folder = source
        if not os.path.isdir(source):
            folder = scratch
            _export(source, folder)
        sys.argv = ["convert", "--saved-model", folder, "--output", target, "--opset", str(OPSET)]
        convert.main()


def _export(source: str, folder: str) -> None:
    import tensorflow

    model = tensorflow.keras.models.load_model(source, compile=False)
    if hasattr(model, "export"):
        model.export(folder)
    else:  # Keras 2.12 and older
        model.save(folder, save_format="tf")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except ModuleNotFoundError as error:
        sys.exit(print(f"there is no module {error.name}", file=sys.stderr) or 3)
    except Exception as error:  # the other side of a pipe sees one line of whatever it is
        sys.exit(print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr) or 1)
