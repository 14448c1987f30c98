"""``flowprune doctor`` prints its findings, and its exit code says whether something is wrong."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from flowprune.cli.main import application
from flowprune.experiments import surroundings
from tests.experiments.test_diagnosis import HEALTHY


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [({}, 0, "No problem found."), ({"cores": 1, "python": (3, 9, 0)}, 1, "2 problems found.")],
)
def test_the_exit_code_says_whether_something_is_wrong(monkeypatch, changes, code, said):
    monkeypatch.setattr(surroundings, "survey", lambda runs, data_dir: replace(HEALTHY, **changes))
    result = CliRunner().invoke(application(), ["doctor"])
    assert result.exit_code == code
    assert result.output.splitlines()[-1] == said
    assert sum(line.startswith("problem") for line in result.output.splitlines()) == (2 if code else 0)


def test_a_runs_folder_that_cannot_be_is_a_problem(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(surroundings, "_try", lambda script: ("", "left out"))
    result = CliRunner().invoke(application(), ["doctor", "--runs", str(tmp_path / "file")])
    assert result.exit_code == 1
    assert "That is a file" in result.output


def test_the_doctor_itself_needs_no_torch():
    """Nor anything else that may be what is wrong."""
    script = (
        "import sys\n"
        "from flowprune.experiments import diagnosis, surroundings\n"
        "heavy = {'torch', 'numpy', 'torchvision', 'pydantic', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
