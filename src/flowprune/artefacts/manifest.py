"""The small JSON file beside an artefact: what it is, what it takes and gives, and how to know that it is whole."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from flowprune.core.errors import PruningError, invalid
from flowprune.core.version import __version__

FORMAT = 1
Kind = Literal["onnx", "program"]
SUFFIX: Mapping[Kind, str] = {"onnx": ".onnx", "program": ".pt2"}
PACKAGES: Mapping[Kind, Sequence[str]] = {"onnx": ("torch", "onnx", "onnxruntime"), "program": ("torch",)}


@dataclass(frozen=True)
class Input:
    """A tensor that an artefact takes.

    Attributes:
        shape: Of the example it was made with.
        dtype: Such as ``"float32"``.
        low: Least value of the example, so that token ids to try it with can be drawn in range.
        high: Greatest value.
    """

    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float

    @classmethod
    def of(cls, tensor: Tensor) -> Input:
        """The description of an example."""
        values = tensor.detach().double()
        values = values[torch.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if values.numel() else (0.0, 0.0)
        return cls(tuple(tensor.shape), _word(tensor), low, high)

    def drawn(self, seed: int) -> Tensor:
        """A tensor of this shape and type, between the two values, the same on every machine."""
        unit = torch.rand(self.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        dtype = cast(torch.dtype, getattr(torch, self.dtype))
        if dtype.is_floating_point:
            return (self.low + unit * (self.high - self.low)).to(dtype)
        return (self.low + unit * (self.high - self.low + 1)).floor().clamp(self.low, self.high).to(dtype)


@dataclass(frozen=True)
class Output:
    """A tensor that an artefact gives for inputs drawn as :meth:`Input.drawn` does.

    Attributes:
        shape: Its shape.
        dtype: Such as ``"float32"``.
        rms: Root of its mean square; None where it holds no real numbers, or some that are not finite.
    """

    shape: tuple[int, ...]
    dtype: str
    rms: float | None

    @classmethod
    def of(cls, tensor: Tensor) -> Output:
        """The description of what was given."""
        real = tensor.is_floating_point() and tensor.numel() and bool(torch.isfinite(tensor).all())
        rms = float(tensor.detach().double().square().mean().sqrt()) if real else None
        return cls(tuple(tensor.shape), _word(tensor), rms)


@dataclass(frozen=True)
class Artefact:
    """A model in a file that runs without its Python code.

    Attributes:
        path: The file.
        kind: ``"onnx"`` or ``"program"``.
        files: SHA-256 by name, of the file and what belongs to it.
        inputs: In the order in which they are passed.
        outputs: In order.
        dynamic_batch: Whether it takes any number of examples.
        difference: From the model, as a fraction of the largest output; checked when it was written.
        versions: Of what it was made with.
    """

    path: Path
    kind: Kind
    files: Mapping[str, str]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    dynamic_batch: bool
    difference: float
    versions: Mapping[str, str]

    @property
    def bytes(self) -> int:
        """Of all files, the JSON left out."""
        return sum((self.path.parent / name).stat().st_size for name in self.files)

    def drawn(self) -> list[Tensor]:
        """Inputs to try it with, the same every time."""
        return [each.drawn(seed) for seed, each in enumerate(self.inputs)]


def beside(path: Path) -> Path:
    """Where the JSON of an artefact is.

    Example:
        >>> beside(Path("model.onnx")).name
        'model.onnx.json'
    """
    return path.with_name(f"{path.name}.json")


def checked_path(where: str, path: Path | str, kind: Kind) -> Path:
    """The path of an artefact to be written.

    Raises:
        ValueError: it has another suffix, is a folder, or lies in none.
    """
    path = Path(path)
    if path.suffix != SUFFIX[kind]:
        raise invalid(f"{where}(path=)", f"a path ending in {SUFFIX[kind]}", str(path))
    if path.is_dir() or not path.parent.is_dir():
        raise invalid(f"{where}(path=)", "a file in a folder that is there", str(path))
    return path


def versions(kind: Kind) -> dict[str, str]:
    """Of Python, of this package, and of what makes and runs such an artefact."""
    found = {"flowprune": __version__, "python": platform.python_version()}
    for name in PACKAGES[kind]:
        try:
            found[name] = torch.__version__ if name == "torch" else version(name)  # its own names the build too
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def write(artefact: Artefact, path: Path) -> None:
    """Write the description as JSON."""
    fields = asdict(artefact) | {"format": FORMAT, "path": artefact.path.name}
    path.write_text(json.dumps(fields, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read(where: str, path: Path, kind: Kind) -> Artefact:
    """The description beside an artefact.

    Raises:
        PruningError: it is missing, damaged, of a later format or of another kind.
    """
    try:
        fields = cast("dict[str, Any]", json.loads(beside(path).read_bytes()))
        if fields["format"] > FORMAT:
            raise PruningError(
                f"{where} reads format {FORMAT}; {beside(path)} has {fields['format']}. Update flowprune."
            )
        found = Artefact(
            path=path,
            kind=fields["kind"],
            files={str(name): str(value) for name, value in fields["files"].items()},
            inputs=tuple(Input(_shape(e), _dtype(e), float(e["low"]), float(e["high"])) for e in fields["inputs"]),
            outputs=tuple(Output(_shape(e), _dtype(e), e["rms"]) for e in fields["outputs"]),
            dynamic_batch=bool(fields["dynamic_batch"]),
            difference=float(fields["difference"]),
            versions=fields["versions"],
        )
    except OSError as error:
        todo = "Without it nothing is known of the file: export the model again."
        raise PruningError(f"{where} needs {beside(path).name} beside {path}: {error}. {todo}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PruningError(f"{where}: {beside(path)} is damaged ({error!r}). Export the model again.") from error
    if found.kind != kind or path.name not in found.files:
        raise PruningError(f"{where}: {beside(path)} is of another artefact. Export the model again.")
    return found


def _shape(fields: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of a tensor that is told of; what is none raises."""
    shape: list[Any] = list(fields["shape"])
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return tuple(shape)


def _dtype(fields: Mapping[str, Any]) -> str:
    """The type of a tensor that is told of; what is none raises."""
    word = fields["dtype"]
    if not isinstance(word, str) or not isinstance(getattr(torch, word, None), torch.dtype):
        raise ValueError(f"dtype {word!r}")
    return word


def _word(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
