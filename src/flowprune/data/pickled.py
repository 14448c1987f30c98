"""Arrays from a pickle that may come from anywhere."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Final

from flowprune.data.damage import damaged


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled arrays and containers, and refuses everything else: a pickle can run any code."""

    ALLOWED: Final = frozenset(
        {
            ("_codecs", "encode"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.numeric", "_frombuffer"),
        }
    )

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return super().find_class(module_name.replace("numpy.core", "numpy._core"), global_name)


def read_arrays(path: Path, remedy: str) -> dict[str, Any]:
    """The dictionary of a file, its names as text (Python 2 wrote them as bytes).

    Raises:
        ValueError: the file is cut off, is no pickle of a dictionary, or asks for more than arrays.
    """
    rule = "a pickled dictionary of arrays, whole"
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="bytes").load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise damaged(path, rule, f"{type(error).__name__}: {error}", remedy) from error
    if not isinstance(content, dict):
        raise damaged(path, rule, type(content).__name__, remedy)
    return {key.decode(errors="replace") if isinstance(key, bytes) else str(key): content[key] for key in content}
