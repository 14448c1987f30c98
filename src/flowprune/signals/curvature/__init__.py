"""Diagonals that stand for the Hessian's, and the memory they take."""

from flowprune.signals.curvature.asked import KINDS, Curvature
from flowprune.signals.curvature.gauss_newton import gauss_newton_pass
from flowprune.signals.curvature.hutchinson import hutchinson_pass

__all__ = ["KINDS", "Curvature", "gauss_newton_pass", "hutchinson_pass"]
