"""Models of the transformers library, from a configuration; nothing is ever downloaded."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.core.extras import require_extra
from flowprune.core.seeds import stream
from flowprune.models.initial import initial_weights

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files that hold the weights of a folder, whole or in parts."""
TOKENS = 16
"""Length of example sequences, where the model takes as many."""


def from_transformers(where: Path | str, *, seed: int = 0, **fields: object) -> nn.Module:
    """A model of transformers, from a folder, a ``config.json``, or the name of a family such as ``"vit"``.

    The class is the one that the configuration names under ``architectures``, else the family's base model. Weights
    are those of the folder, if it has any, and random ones otherwise. Decoders do not keep past keys.

    Args:
        where: A path, or a name of ``transformers.CONFIG_MAPPING``.
        seed: Of random weights; the global random state is left as it was.
        fields: Of the configuration, changed; ``architectures="ViTForImageClassification"`` chooses a class.

    Raises:
        ValueError: no such path or family, a configuration without them, or weights of another one.
        PruningError: the extra ``hf`` is not installed.

    Example:
        ``from_transformers("llama", hidden_size=64, intermediate_size=128, num_hidden_layers=2, vocab_size=100)``
    """
    require_extra("from_transformers()", "hf")
    with _offline() as transformers:
        config = _config(transformers, str(where), fields)
        if getattr(config, "use_cache", None):
            config.use_cache = False  # an output that is no tensor
        kind = _class(transformers, config)
        folder = Path(where) if _is_path(transformers, str(where)) and Path(where).is_dir() else None
        with initial_weights(seed):
            if folder is not None and any((folder / name).is_file() for name in WEIGHTS):
                return _loaded(kind, folder, config)
            return kind(config) if issubclass(kind, nn.Module) else kind.from_config(config)


def example_inputs(model: nn.Module, shape: Sequence[int] | None = None, *, seed: int = 0) -> dict[str, Tensor]:
    """Two examples of what a model of transformers takes, as its configuration says: images or token ids.

    Args:
        model: With a ``config`` and a ``main_input_name``.
        shape: Of one example: (channels, height, width), or (length,). By default the configuration's image size, and
            16 tokens.
        seed: Of the values.

    Shapes: ``pixel_values`` (2, channels, height, width) in float32, ``input_ids`` (2, length) in int64.

    Raises:
        ValueError: the configuration does not say what the model takes.
    """
    config: Any = model.config
    name, generator = str(getattr(model, "main_input_name", "")), stream(seed, "example inputs")
    if name == "input_ids" and getattr(config, "vocab_size", None):
        length = shape or (min(TOKENS, getattr(config, "max_position_embeddings", None) or TOKENS),)
        ids = torch.randint(config.vocab_size, (2, *length), generator=generator)
        return {name: ids, "decoder_input_ids": ids} if getattr(config, "is_encoder_decoder", False) else {name: ids}
    size = getattr(config, "image_size", None)
    if name == "pixel_values" and shape is None and size:
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        shape = (getattr(config, "num_channels", 3), height, width)
    if shape is None:
        todo = "Pass the shape of one example of it; on the command line: --input-shape 3,224,224."
        raise invalid("example_inputs(model=)", "a model whose configuration says the shape of its input", name, todo)
    return {name or "inputs": torch.randn(2, *shape, generator=generator)}


def _config(transformers: Any, where: str, fields: dict[str, object]) -> Any:
    """The configuration, of a file or of a family's defaults, with fields changed."""
    if isinstance(fields.get("architectures"), str):
        fields = {**fields, "architectures": [fields["architectures"]]}
    if _is_path(transformers, where):
        _require_fields(transformers, _read(transformers, where, {}), fields)
        return _read(transformers, where, fields)
    families = list(transformers.CONFIG_MAPPING.keys())
    if where not in families:
        near = get_close_matches(where, families, n=3)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        rule = "a folder with a config.json, such a file, or a family of transformers"
        raise invalid("from_transformers(where=)", rule, where, f"{hint}Nothing is downloaded.")
    _require_fields(transformers, transformers.AutoConfig.for_model(where), fields)
    return transformers.AutoConfig.for_model(where, **fields)


def _is_path(transformers: Any, where: str) -> bool:
    """Whether a path is meant; a name of a family is one only where a folder of that name holds a configuration."""
    if where in transformers.CONFIG_MAPPING:
        return (Path(where) / "config.json").is_file()
    return Path(where).exists()


def _read(transformers: Any, where: str, fields: dict[str, object]) -> Any:
    """The configuration of a folder or file; code that a folder may bring along is not run."""
    try:
        return transformers.AutoConfig.from_pretrained(where, local_files_only=True, trust_remote_code=False, **fields)
    except (OSError, KeyError, ValueError) as error:
        todo = str(error).strip().partition("\n")[0]
        raise invalid("from_transformers(where=)", "a folder or file with a configuration", where, todo) from None


def _require_fields(transformers: Any, config: Any, fields: dict[str, object]) -> None:
    """Raise where a configuration has no such field: transformers would keep it and not read it."""
    for name in fields:
        if not hasattr(config, name):
            known = list(config.to_dict())
            near = get_close_matches(name, known, n=3)
            shared = transformers.PretrainedConfig().to_dict()
            own = [field for field in known if field not in shared]
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Its own are {', '.join(own)}."
            raise invalid(f"from_transformers({name}=)", f"a field of {type(config).__name__}", name, hint)


def _class(transformers: Any, config: Any) -> Any:
    """The class that a configuration names, or the one that chooses by family."""
    named = (getattr(config, "architectures", None) or [None])[0]
    if named is None:
        return transformers.AutoModel
    kind = getattr(transformers, named, None)
    if kind is None:
        raise invalid("from_transformers(architectures=)", "a class of transformers", named)
    return kind


def _loaded(kind: Any, folder: Path, config: Any) -> nn.Module:
    try:
        return kind.from_pretrained(str(folder), config=config, local_files_only=True)
    except (RuntimeError, OSError, ValueError) as error:
        todo = f"{str(error).strip().splitlines()[0]} Leave the fields as they are, or take the weights away."
        raise invalid(
            "from_transformers(where=)", "a folder with weights of its configuration", str(folder), todo
        ) from None


@contextmanager
def _offline() -> Generator[Any]:
    """transformers, silent and without a network."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ.setdefault(name, "1")
    import transformers

    logger: Any = transformers.logging
    before, bars = logger.get_verbosity(), logger.is_progress_bar_enabled()
    logger.set_verbosity_error()
    logger.disable_progress_bar()
    try:
        yield transformers
    finally:
        logger.set_verbosity(before)
        if bars:
            logger.enable_progress_bar()
