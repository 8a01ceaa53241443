"""The module of a folder with its weights, as transformers builds it; what would take more memory than the weights
say, or would start with random numbers, is refused before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...ir.errors import FormatError, GeocError, UnsupportedModel
from ..pytorch.quiet import quiet, reason
from .folder import Folder

_LABELS = 1_000_000  # classes, each of which gets a name
_BUFFERS = 1 << 30  # bytes of tables that are computed and not stored, such as masks over all positions


def open_model(folder: Folder) -> Any:
    """A transformers.PreTrainedModel in float32, not in training. Raises FormatError or UnsupportedModel."""
    import transformers

    made = getattr(transformers, folder.architecture, None)
    if not isinstance(made, type) or not issubclass(made, transformers.PreTrainedModel):
        own = "auto_map" in folder.config
        why = "needs code that comes with the model, and trust_remote_code is off" if own else "it does not know"
        what = f"{folder.architecture}: transformers {transformers.__version__} {why}"
        raise UnsupportedModel(what, source=folder.path)
    try:
        with quiet():
            _check_numbers(folder)
            kind: Any = made
            config = kind.config_class.from_pretrained(folder.path, local_files_only=True)
            _check_memory(made, config, folder)
            return _with_weights(made, config, folder)
    except (GeocError, OSError) as error:
        if isinstance(error, OSError) and error.strerror is None:  # transformers' word for files that it cannot use
            raise FormatError(f"transformers cannot read it: {reason(error)}", source=folder.path) from error
        raise
    except Exception as error:  # configs hold anything, and what is wrong in one is met anywhere in transformers
        why = f"transformers cannot read it: {reason(error)} (--debug shows all)"
        raise FormatError(why, source=folder.path) from error


def _with_weights(made: Any, config: Any, folder: Folder) -> Any:
    import torch

    def load(**options: Any) -> tuple[Any, list[str]]:
        model, loading = made.from_pretrained(
            folder.path, config=config, local_files_only=True, trust_remote_code=False, torch_dtype=torch.float32,
            use_safetensors=folder.is_safe, output_loading_info=True, **options,
        )  # fmt: skip
        if loading.get("mismatched_keys"):
            first = min(map(str, loading["mismatched_keys"]))
            raise FormatError(f"weights of another shape: {first}", source=folder.path)
        return model.eval(), sorted(loading["missing_keys"])

    model, missing = load()
    if missing and all(name.startswith("pooler.") for name in missing):
        model, missing = load(add_pooling_layer=False)
    if missing:
        raise FormatError(f"{len(missing)} weights are not there, {missing[0]!r} for one", source=folder.files[0])
    return model


def _check_numbers(folder: Folder) -> None:
    """That no number in the config makes a loop of what the weights do not hold."""
    for name, number in _numbers(folder.config, ""):
        repeated = any(word in name for word in ("layer", "depth", "stage", "block"))
        most = folder.tensors if repeated else _LABELS if "label" in name else folder.nbytes
        if number > max(most, 64):
            raise FormatError(f"config.json says {name} = {number}, more than the weights can hold", source=folder.path)


def _numbers(value: Any, name: str) -> Iterator[tuple[str, int]]:
    """All integers of a config with the names that they stand under."""
    waiting = [(value, name)]
    while waiting:
        value, name = waiting.pop()
        if isinstance(value, dict):
            waiting += [(inner, str(key)) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, name) for inner in value]
        elif isinstance(value, int) and not isinstance(value, bool) and "token_id" not in name:
            yield name, value


def _check_memory(made: Any, config: Any, folder: Folder) -> None:
    """That the module has no more parameters than the files have bytes: a byte is the least that one is stored in."""
    import torch

    with torch.device("meta"):
        empty = made(config)
    count = sum(parameter.numel() for parameter in empty.parameters())
    if count > folder.nbytes:
        raise FormatError(
            f"config.json describes {count:,} parameters, the weights have {folder.nbytes:,} bytes", source=folder.path
        )
    computed = sum(buffer.nbytes for buffer in empty.buffers())
    if computed > _BUFFERS + folder.nbytes:
        raise FormatError(f"config.json describes tables of {computed:,} bytes beside the weights", source=folder.path)
