"""What goes wrong, said in one form: what must hold, what came, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PruningError(RuntimeError):
    """A pruning step that would lie or do harm was stopped; nothing was changed."""


class UnknownNameError(KeyError, ValueError):
    """A name that is in no index; the message lists the known ones."""

    def __str__(self) -> str:
        """The message itself: ``KeyError`` would print its ``repr``."""
        return str(self.args[0])


def invalid(where: str, rule: str, got: object, todo: str = "") -> ValueError:
    """A ``ValueError`` in the house form.

    Example:
        >>> print(invalid("select(sparsity=)", "in [0, 1)", 1.5, "To keep a fraction d, pass sparsity=1-d."))
        select(sparsity=) must be in [0, 1); got 1.5. To keep a fraction d, pass sparsity=1-d.
    """
    return ValueError(f"{where} must be {rule}; got {got!r}. {todo}".rstrip())


def unknown(where: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """An error that lists what there is, and the nearest name.

    Example:
        >>> print(unknown("MEASURES", "magnitud", ["magnitude", "fisher"]))
        MEASURES has no 'magnitud'. Did you mean 'magnitude'? Known: fisher, magnitude.
    """
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UnknownNameError(f"{where} has no {name!r}.{hint} Known: {', '.join(names) or 'nothing'}.")
