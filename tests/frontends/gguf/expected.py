"""What transformers computes with the tiny decoders: writes expected.json beside this file.

python tests/frontends/gguf/expected.py        # needs torch and transformers; made with 4.57.6
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tiny import CASES, IDS, Case


def logits(case: Case) -> list[list[float]]:
    """Logits of IDS, [tokens of the prompt, vocabulary]."""
    import torch
    import transformers

    name, options = case.hf
    config = getattr(transformers, f"{name}Config")(**options, attn_implementation="eager")
    kind = getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name.removesuffix('Text')}ForCausalLM")
    model = kind(config).eval().float()
    missing, unexpected = model.load_state_dict({k: torch.from_numpy(v) for k, v in case.weights().items()}, strict=False)
    assert not unexpected and all(key == "lm_head.weight" and case.tied for key in missing), (missing, unexpected)
    model.tie_weights()
    with torch.no_grad():
        found = model(torch.tensor(IDS), use_cache=False).logits[0]
    return [[round(number, 6) for number in row] for row in found.tolist()]


if __name__ == "__main__":
    rows = [f"{json.dumps(name)}: {json.dumps(logits(case))}" for name, case in CASES.items()]
    Path(__file__).with_name("expected.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")
