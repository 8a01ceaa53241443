"""Export a small Swin transformer with both PyTorch exporters: window partitions are a hard case for clean-up.

    pip install torch transformers onnxscript
    python tests/bench/swin.py FOLDER        # writes FOLDER/swin-small-ts.onnx and FOLDER/swin-small-dynamo.onnx

Weights are random with a fixed seed; the batch is dynamic in the first; torch.export cannot follow a dynamic one here.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    import torch
    from transformers import SwinConfig, SwinForImageClassification

    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    config = SwinConfig(image_size=112, embed_dim=48, depths=[2, 2, 2], num_heads=[3, 6, 12], window_size=7, num_labels=10)

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = SwinForImageClassification(config).eval()

        def forward(self, pixel_values: Any) -> Any:
            return self.model(pixel_values).logits

    model, image = Logits().eval(), torch.randn(2, 3, 112, 112)
    names: dict[str, Any] = {"input_names": ["pixel_values"], "output_names": ["logits"]}
    with torch.no_grad():
        torch.onnx.export(
            model, (image,), folder / "swin-small-ts.onnx", dynamo=False, opset_version=17,
            dynamic_axes={"pixel_values": {0: "batch"}, "logits": {0: "batch"}}, **names,
        )  # fmt: skip
        torch.onnx.export(
            model, (image,), folder / "swin-small-dynamo.onnx", dynamo=True, opset_version=18, verbose=False,
            external_data=False, **names,
        )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
