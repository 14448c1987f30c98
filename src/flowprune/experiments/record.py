"""A finished run as it is read: its spec, what it was made with, and where its rows stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowprune.core.files import read_json
from flowprune.experiments.folder import RunFolder
from flowprune.experiments.spec import Spec


@dataclass(frozen=True)
class Record:
    """One run, whether it stands in a folder of its own or in an archive.

    Attributes:
        run: Its id.
        spec: What it was asked to do.
        environment: Versions and hardware; empty where they were not stored.
        latency: Measured times, where they were.
        file: Of its rows; an archive holds those of many runs in one.
    """

    run: str
    spec: Spec
    environment: Mapping[str, object]
    latency: Mapping[str, float] | None
    file: Path

    @classmethod
    def of(cls, folder: RunFolder) -> Record:
        """The record of a run folder.

        Raises:
            ValueError: its spec or environment is damaged.
        """
        about = folder.path / "environment.json"
        spec = folder.spec
        environment = read_json(about) if about.exists() else {}
        return cls(spec.run_id, spec, environment, folder.latency, folder.rows.path)
