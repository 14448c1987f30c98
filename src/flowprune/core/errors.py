"""What goes wrong, said in one form: what must hold, what came, what to do."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
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


def first_line(error: BaseException) -> str:
    r"""What kind of error it is and what it says, cut to its first line, without a full stop.

    Example:
        >>> first_line(ValueError(" a.\nb")), first_line(ValueError())
        ('ValueError: a', 'ValueError')
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('. ')}" if lines else type(error).__name__


@contextmanager
def renamed(names: Mapping[str, str]) -> Generator[None]:
    """Within the block, an error names what its caller wrote in place of what that was passed on to.

    Args:
        names: How a message begins, and how it shall begin instead; the longest that fits counts.

    Example:
        >>> with renamed({"select(": "prune("}):
        ...     raise invalid("select(sparsity=)", "in [0, 1)", 1.5)
        Traceback (most recent call last):
        ValueError: prune(sparsity=) must be in [0, 1); got 1.5.
    """
    try:
        yield
    except (ValueError, PruningError) as error:
        said = error.args[0] if error.args else None
        begins = [old for old in names if isinstance(said, str) and said.startswith(old)]
        if isinstance(said, str) and begins:
            old = max(begins, key=len)
            error.args = (names[old] + said.removeprefix(old), *error.args[1:])
        raise
