"""The help of a command, its options under the headings that they are declared with."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

MODEL = "What model"
UNITS = "What to remove"
AMOUNT = "How much"
DATA = "Data"
OUTPUT = "Output"
REST = "Options"


class Headed(TyperCommand):
    """A command whose plain help has a section for each ``rich_help_panel`` of its options, in order of appearance."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections: arguments, then each heading, and last what has none."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        rest: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            heading = getattr(param, "rich_help_panel", None)
            if record is None:
                continue
            if param.param_type_name == "argument":
                sections["Arguments"].append(record)
            elif heading is None:
                rest.append(record)
            else:
                sections.setdefault(heading, []).append(record)
        for name, records in (*sections.items(), (REST, rest)):
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)
