"""The allocator switch, tried in a process of its own because it lasts."""

from __future__ import annotations

import subprocess
import sys

CODE = """
from flowprune.signals.allocator import keep_memory
import platform
assert keep_memory() == (platform.libc_ver()[0] == "glibc")
import torch
assert float((torch.ones(1 << 20) * 2).sum()) == 2.0 * (1 << 20)
"""


def test_the_switch_says_whether_it_was_made():
    assert subprocess.run([sys.executable, "-c", CODE], check=False).returncode == 0


def test_importing_signals_makes_no_switch():
    code = "import flowprune.signals, sys; sys.exit('flowprune.signals.allocator' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
