"""The section of docs/initialization.md on networks of a hundred layers: theory, and what the rows show of it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowprune.report.evidence import Evidence
    from flowprune.report.shapes.sparsities import Method, Network, Sparsities
    from flowprune.report.values import Row

STUDY = "depth"
PICTURE = "images/depth.png"
NETWORK = ("model.options.activation", "model.options.initial", "model.options.sigma_b")
NAMES = {"snip": "SBP (`snip`)", "magnitude": "MBP (`magnitude`)"}
EDGE = "edge of chaos"

THEORY = """**What the theory says** (Hayou et al. 2021, [2002.08797](https://arxiv.org/abs/2002.08797); mean field, for
wide layers). χ is the slope, at one, of the map that takes the correlation of two inputs through a layer. Where χ < 1,
the *ordered phase*, inputs become alike with depth and gradients vanish; where χ > 1, the *chaotic phase*, inputs part
and gradients explode; at χ = 1, the *edge of chaos*, a deep network can train. Off the edge, sensitivities θ·g differ
by layer as powers of χ, so that sensitivity-based pruning (SBP, here SNIP) empties the first or the last layers; relu
without biases is an exception, as θ·g has the same total in each of its layers. Pruning takes variance from the
weights: a network on the edge falls into the ordered phase, by magnitude-based pruning (MBP) less than by others,
unless the kept weights are multiplied until each layer has the variance that it had (rescaled). So the theory predicts:
(1) dense networks train on the edge and not off it; (2) off it no pruned network trains; (3) on it pruned networks
train no longer from some sparsity on; (4) rescaled they do."""

FAILS = """**Where the theory fails.** Rescaling does not bring the {network} network back after SBP ({cells}), while
{others}. Each rescaled layer has the variance of weights that mean field asks for, but mean field takes masks to be
independent of signals, and SBP keeps the weights that signals pass. Beside these rows, in relu networks of thirty
layers pruned by SBP to 80 and 90 % and rescaled, the variance of signals in the last layer was above 10¹⁵, where mean
field has it of the order of one; after MBP, and in tanh networks, it stayed below ten. Rescaling by the variance of
weights is no remedy there."""
"""A test of this page prunes such networks anew."""


@dataclass(frozen=True)
class Phase:
    """The slope χ of a network's correlation map, and the phase it puts it in."""

    slope: float

    @property
    def name(self) -> str:
        """In words."""
        if abs(self.slope - 1) < 1e-3:
            return EDGE
        return "ordered phase" if self.slope < 1 else "chaotic phase"


def phase_of(network: Network) -> Phase:
    """By mean field, from its activation and the standard deviations of its initial weights and biases."""
    from flowprune.analysis.mean_field.maps import chi, variance_map
    from flowprune.models.edge_of_chaos import edge_of_chaos

    activation, initial, sigma_b = (dict(network.setting)[path] for path in NETWORK)
    if initial == "edge_of_chaos":
        found = edge_of_chaos(activation, float(sigma_b))
        return Phase(chi(activation, found.sigma_w, 1.0 if found.variance is None else found.variance))
    variances = variance_map(activation, float(initial), float(sigma_b), depth=1000)
    return Phase(chi(activation, float(initial), float(variances[-1])))


def told(evidence: Evidence) -> list[Row]:
    """The results, told apart by network and rescaling whichever of them are stored: from the specs."""
    from flowprune.report.values import text

    found = []
    for row in evidence.rows:
        spec = evidence.specs.get(text(row, "run"), {})
        if row.get("kind") == "result":
            paths = (*NETWORK, *(("prune.rescale",) if spec.get("prune.recipe") else ()))
            found.append({**row, "setting": json.dumps({path: spec.get(path) for path in paths})})
    return found


def section(evidence: Evidence) -> list[str]:
    """Theory, tables and figure, and where they agree."""
    from flowprune.report.sentences.sparsities import caption
    from flowprune.report.shapes.sparsities import sparsities

    records = sparsities(told(evidence))
    if records is None or records.least is None:
        return [THEORY, "", "No two sparsities are stored yet, so there is nothing to hold against it."]
    text = [THEORY, "", f"![Test accuracy by sparsity, dense at the left, one panel a network]({PICTURE})", ""]
    text += [f"*{caption(records)}* Drawn by `flowprune report results/{STUDY} --figure depth`.", ""]
    for network in records.networks:
        text += _network(records, network)
    lines = [f"- {words}" for words in held(records)]
    return [
        *text,
        "**Bold**: it trains. –: no run.",
        "",
        "**What these rows show of it.**",
        "",
        *lines,
        "",
        *failing(records),
    ]


def _network(records: Sparsities, network: Network) -> list[str]:
    from flowprune.report.sentences.sparsities import sparse, up_to
    from flowprune.report.tables.grid import accuracy_cell
    from flowprune.report.wording import accuracy

    least, phase = records.least or 0.0, phase_of(network)
    shares = sorted({s for method in network.methods for s in method.sparsities})
    title = f"### {network.words}" + ("" if EDGE in network.words else f": {phase.name}") + f" (χ = {phase.slope:.2f})"
    dense = "Dense: no run."
    if network.dense is not None:
        verdict = "trains" if network.dense.mean >= least else "does not train"
        dense = f"Dense: {accuracy(network.dense, count=True)}, {verdict}."
    most = max((value.n for method in network.methods for value in method.values), default=1)
    seeds = (
        f" n = {most} of pruned networks unless a cell says otherwise." if most > 1 else " n = 1 of pruned networks."
    )
    text = [title, "", dense + seeds, ""]
    head = ["pruned by", *(f"{sparse(s)}, accuracy %" for s in shares), "trains"]
    text += [f"| {' | '.join(head)} |", f"| --- | {'---: | ' * len(shares)}--- |"]
    for method in sorted(network.methods, key=named):
        values = [method.at(s) for s in shares]
        cells = [str(accuracy_cell(v, most=most, bold=v is not None and v.mean >= least)) for v in values]
        cells = [cell.removesuffix(" (n = 1)") for cell in cells] if most == 1 else cells
        text.append(f"| {named(method)} | {' | '.join(cells)} | {up_to(method, least)} |")
    return [*text, ""]


def named(method: Method) -> str:
    """What a method is called on the page."""
    from flowprune.report.wording import plain

    name = NAMES.get(method.config.measure, plain(method.config.measure))
    return f"{name}, rescaled" if rescaled(method) else name


def rescaled(method: Method) -> bool:
    """Whether kept weights were multiplied."""
    return any(path == "prune.rescale" for path, _ in method.config.setting)


def held(records: Sparsities) -> list[str]:
    """Each prediction, and which networks follow it; all words from the rows."""
    least = records.least or 0.0
    phases = {network.setting: phase_of(network).name for network in records.networks}
    edge = [network for network in records.networks if phases[network.setting] == EDGE]
    off = [network for network in records.networks if phases[network.setting] != EDGE]
    dense = [(network, network.dense.mean >= least) for network in records.networks if network.dense is not None]
    right = [network.words for network, trains in dense if trains == (phases[network.setting] == EDGE)]
    wrong = [
        f"{network.words} ({phases[network.setting]}) {'trains' if trains else 'does not train'}"
        for network, trains in dense
        if trains != (phases[network.setting] == EDGE)
    ]
    return [
        f"(1) Dense networks: {_balance(right, wrong)}",
        f"(2) Pruned off the edge: {_cells(off, least, lambda _: True, trains=False)}",
        f"(3) Pruned on the edge, not rescaled: {_until(edge, least)}",
        f"(4) Pruned on the edge, rescaled: {_cells(edge, least, rescaled, trains=True)}",
    ]


def _balance(right: Sequence[str], wrong: Sequence[str]) -> str:
    if not right and not wrong:
        return "no run."
    if not wrong:
        return f"all {len(right)} as predicted."
    return f"{len(right)} of {len(right) + len(wrong)} as predicted; against it, {'; '.join(wrong)}."


def _cells(networks: Iterable[Network], least: float, wanted: Callable[[Method], bool], *, trains: bool) -> str:
    """In how many cells of a network, a method and a sparsity the prediction comes out, and in which not."""
    total, against = 0, []
    for network in networks:
        for method in filter(wanted, network.methods):
            pairs = zip(method.sparsities, method.values, strict=True)
            missed = [s for s, value in pairs if (value.mean >= least) != trains]
            total += len(method.sparsities)
            against += [(network, method, missed)] if missed else []
    if not total:
        return "no run."
    good = total - sum(len(missed) for _, _, missed in against)
    words = f"as predicted in {good} of {total} combinations of network, method and sparsity"
    listed = "; ".join(f"{network.words}, {named(method)} at {_shares(missed)}" for network, method, missed in against)
    return f"{words}; {'does not train' if trains else 'trains'}: {listed}." if against else f"{words}."


def _until(networks: Iterable[Network], least: float) -> str:
    """Up to which sparsity each network trains by each method that does not rescale, and what was predicted."""
    from flowprune.report.sentences.sparsities import up_to

    plain = [(network, method) for network in networks for method in network.methods if not rescaled(method)]
    if not plain:
        return "no run."
    stop = [(network, method) for network, method in plain if method.values[-1].mean < least]
    words = f"at the largest sparsity {len(stop)} of {len(plain)} combinations of network and method train no longer"
    each = "; ".join(f"{network.words}, {named(method)}: trains {up_to(method, least)}" for network, method in plain)
    return f"{words} ({each})."


def _shares(found: Sequence[float]) -> str:
    from flowprune.report.sentences.sparsities import sparse
    from flowprune.report.wording import joined

    return joined([sparse(s) for s in found])


def failing(records: Sparsities) -> list[str]:
    """What is to be said where SBP, rescaled on the edge, does not train although MBP does; nothing elsewhere."""
    from flowprune.report.wording import joined

    least, text = records.least or 0.0, []
    edge = [network for network in records.networks if phase_of(network).name == EDGE]
    for network in edge:
        dead, beside = _dead(network, "snip", least), _dead(network, "magnitude", least)
        if dead is None or beside is None or not set(beside) < set(dead):
            continue
        others = [f"after MBP it does{_but(beside)}"]
        for other in edge:
            saved = _dead(other, "snip", least)
            if other is not network and saved is not None and not set(dead) <= set(saved):
                others.append(f"the {_activation(other)} network trains after SBP{_but(saved)}")
        said = FAILS.format(network=_activation(network), cells=f"at {_shares(dead)}", others=joined(others))
        text += [textwrap.fill(said.replace("\n", " "), width=120, break_long_words=False), ""]
    return text


def _activation(network: Network) -> str:
    return dict(network.setting)[NETWORK[0]]


def _but(dead: Sequence[float] | None) -> str:
    return f", but not at {_shares(dead)}" if dead else ""


def _dead(network: Network, measure: str, least: float) -> tuple[float, ...] | None:
    """The sparsities at which it does not train when rescaled; None where there is no run."""
    for method in network.methods:
        if method.config.measure == measure and rescaled(method):
            pairs = zip(method.sparsities, method.values, strict=True)
            return tuple(s for s, value in pairs if value.mean < least)
    return None
