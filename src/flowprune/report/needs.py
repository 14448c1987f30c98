"""What a figure or table is made from: a kind of row, what makes a run record it, and which runs are to have it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from flowprune.experiments.spec import Spec

OFF = (None, "none", [], ())
"""Values of a field of a spec that ask for nothing."""


@dataclass(frozen=True)
class Needs:
    """What has to be there.

    Attributes:
        kind: Of the rows that are read.
        field: Of a spec, by dotted path: what makes a run store them; empty where every run does.
        example: Options of ``flowprune sweep`` whose runs store them.
        runs: Whether dense runs store them, pruned ones, or both.
        measures: Those that are shown, ``"dense"`` among them where it is; empty for whichever there are.
        most_rounds: Whether only the runs cut in the largest number of rounds are shown.
    """

    kind: str
    field: str = ""
    example: str = ""
    runs: Literal["all", "dense", "pruned"] = "all"
    measures: tuple[str, ...] = ()
    most_rounds: bool = False

    def of(self, specs: Iterable[Spec]) -> tuple[Spec, ...]:
        """The runs among ``specs`` that are shown.

        Example:
            >>> from flowprune.experiments.studies import STUDIES
            >>> found = Needs("epoch", measures=("magnitude", "fisher"), most_rounds=True).of(STUDIES["demo"].specs)
            >>> [(spec.prune.measure, spec.prune.rounds, spec.seed) for spec in found]
            [('magnitude', 5, 0), ('magnitude', 5, 1), ('magnitude', 5, 2)]
        """
        found = [spec for spec in specs if self._shows(spec)]
        if not self.most_rounds:
            return tuple(found)
        most: dict[tuple[object, ...], int] = {}
        for spec in found:
            most[_comparison(spec)] = max(most.get(_comparison(spec), 0), _rounds(spec))
        return tuple(spec for spec in found if spec.prune is None or _rounds(spec) == most[_comparison(spec)])

    def _shows(self, spec: Spec) -> bool:
        from flowprune.experiments.telling import field_of

        if self.runs != "all" and (spec.prune is None) != (self.runs == "dense"):
            return False
        if self.field and field_of(spec, self.field) in OFF:
            return False
        return not self.measures or field_of(spec, "prune.measure") in self.measures

    def missing(self, where: str, got: object) -> ValueError:
        """The error where no row of ``got`` can be shown: what is missing, what records it, and an example.

        Example:
            >>> print(Needs("look", "prune.when", "--preset demo").missing("draw(rows=)", ["epoch"]))
            draw(rows=) must be rows with usable 'look' records; got ['epoch']. A run stores them where its spec sets \
prune.when, as in: flowprune sweep --preset demo
        """
        shown = [name for name in self.measures if name != "dense"]
        which = f" of {' or '.join(shown)}" if shown else f" of {self.runs} runs" if self.runs != "all" else ""
        how = f"where its spec sets {self.field}" if self.field else "whatever its spec"
        example = f", as in: flowprune sweep {self.example}" if self.example else "."
        todo = f"A run stores them {how}{example}"
        return invalid(where, f"rows with usable {self.kind!r} records{which}", got, todo)


def _comparison(spec: Spec) -> tuple[object, ...]:
    cut = spec.prune
    return (spec.model.name, spec.data.name, *((cut.sparsity, cut.granularity) if cut else ()))


def _rounds(spec: Spec) -> int:
    return spec.prune.rounds if spec.prune else 0
