"""Which diagonal is asked for, and within which memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from flowprune.core.errors import invalid, unknown

Kind = Literal["ggn", "fisher_mc", "empirical", "hutchinson"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
UNITS: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True)
class Curvature:
    r"""A diagonal d that stands for that of the Hessian of the mean loss.

    - ``"ggn"``: the exact diagonal of the generalised Gauss-Newton matrix, E[diag J^T (d^2 l/dz^2) J]. Of cross-entropy
      it is the Fisher matrix, with the model's own labels. As many backward passes as there are outputs, less one
      for softmax, all through one graph;
    - ``"fisher_mc"``: the same in expectation, from ``samples`` random labels for each example;
    - ``"empirical"``: E[g_i^2] at the true labels, another quantity: the ``"fisher"`` of ``gather``. One backward pass;
    - ``"hutchinson"``: the diagonal of the Hessian itself in expectation, E[v \* H v] over random signs v. Each of
      ``samples`` probes costs 3 to 4 backward passes.

    All are averages over all examples; per-example gradients are squared before they are averaged. Only the last can
    be negative. The Gauss-Newton matrix leaves out what the network's own second derivatives add to the Hessian, which
    is weighted by the slopes of the loss in the outputs and so is small where every example is fitted.

    Attributes:
        kind: See above.
        samples: Draws for each example (``"fisher_mc"``), or probes for each part of a batch (``"hutchinson"``).
        memory: Bytes, or a string such as ``"512MiB"``, that gathering it may take beside the model, the batches and
            what is returned. Examples are taken in as large parts as fit; if not even one does, it is refused before
            it starts.

    Raises:
        UnknownNameError: an unknown kind.
        ValueError: no sample, or memory that is no positive size.

    Example:
        >>> Curvature("fisher_mc", samples=4, memory="1GiB").bytes
        1073741824
    """

    kind: str = "ggn"
    samples: int = 1
    memory: int | str = "2GiB"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("gather(curvature=)", self.kind, KINDS)
        whole = isinstance(self.samples, int) and not isinstance(self.samples, bool)
        if not whole or self.samples < 1:
            raise invalid("Curvature(samples=)", "a whole number >= 1", self.samples)
        if self.samples != 1 and self.kind not in ("fisher_mc", "hutchinson"):
            raise invalid("Curvature(samples=)", f"1 with {self.kind!r}, which draws nothing", self.samples)
        if self.bytes <= 0:
            raise invalid("Curvature(memory=)", "a positive number of bytes", self.memory)

    @property
    def bytes(self) -> int:
        """The memory as a number."""
        if isinstance(self.memory, int) and not isinstance(self.memory, bool):
            return self.memory
        if not isinstance(self.memory, str):
            raise invalid("Curvature(memory=)", "a whole number of bytes, or a string such as '512MiB'", self.memory)
        for unit, size in UNITS.items():
            number = self.memory.removesuffix(unit).strip()
            if self.memory.endswith(unit) and number.replace(".", "", 1).isdigit():
                return int(float(number) * size)
        raise invalid("Curvature(memory=)", f"bytes, or a number with one of {', '.join(UNITS)}", self.memory)


def in_words(size: float) -> str:
    """A number of bytes as one reads it.

    Example:
        >>> in_words(1536), in_words(3 << 30)
        ('1.5 KiB', '3 GiB')
    """
    unit = next((unit for unit, whole in reversed(UNITS.items()) if size >= whole), "KiB")
    return f"{size / UNITS[unit]:.3g} {unit}"
