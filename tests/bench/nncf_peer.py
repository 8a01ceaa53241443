"""What NNCF makes of a model for OpenVINO; run by integers.py in an environment of its own, with nncf and openvino.

    PYTHON tests/bench/nncf_peer.py MODEL.onnx SAMPLES.npz OUT.xml WEIGHTS.xml

OUT: `nncf.quantize` with its defaults on all samples (arrays INPUT/0, INPUT/1, ...), as a transformer where the model
has layer normalizations. WEIGHTS: `nncf.compress_weights` with its defaults, 8 bits, whose rows OpenVINO quantizes as
it runs.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def main(model: str, samples: str, out: str, weights: str) -> None:
    import nncf
    import openvino

    feeds: dict[str, dict[str, Any]] = {}
    with np.load(samples) as archive:
        for key in archive.files:
            name, _, number = key.rpartition("/")
            feeds.setdefault(number, {})[name] = archive[key]
    source = openvino.Core().read_model(model)
    kinds = {op.get_type_name() for op in source.get_ops()}
    options = {"model_type": nncf.ModelType.TRANSFORMER} if "MVN" in kinds else {}
    made = nncf.quantize(source, nncf.Dataset(list(feeds.values())), subset_size=len(feeds), **options)
    openvino.save_model(made, out, compress_to_fp16=False)
    made = nncf.compress_weights(openvino.Core().read_model(model), mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(made, weights, compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
