"""How important whole components of a network are, followed over training."""
