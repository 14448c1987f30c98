"""Where a method comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A publication.

    Example:
        >>> print(Source("Lubana & Dick", 2021, "A Gradient Flow Framework", arxiv="2009.11839"))
        Lubana & Dick (2021), A Gradient Flow Framework, arXiv 2009.11839
    """

    authors: str
    year: int
    title: str
    arxiv: str | None = None

    def __str__(self) -> str:
        tail = f", arXiv {self.arxiv}" if self.arxiv else ""
        return f"{self.authors} ({self.year}), {self.title}{tail}"
