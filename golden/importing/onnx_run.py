"""ONNX models run by ONNX Runtime on one thread, within bounded memory.

The packages ``onnx`` and ONNX Runtime are the extra ``onnx``, imported when a graph is read.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from deltamoe.golden.importing.memory import limited

LARGEST = 2 << 30
"""Bytes of a file; ONNX's own format holds no more."""

WORKING = 4 * LARGEST
"""Bytes that a model may take to be folded or run; shapes that no one can tell are bounded so."""


def extra(name: str) -> Any:
    """Import a package of the extra ``onnx``.

    Raises
    ------
    ValueError
        It is not installed; says how to.
    """
    try:
        return __import__(name)
    except ImportError:
        raise ValueError(f"ONNX needs the package {name}: pip install 'deltamoe[onnx]'") from None


def run(model: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run a model on one thread.

    Raises
    ------
    ValueError
        ONNX Runtime cannot.
    """
    return runner(model)(inputs)


def runner(model: bytes) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """Return what runs a model on one thread, and raises ValueError if ONNX Runtime cannot."""
    opened = session(model)

    def started(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            with limited(WORKING):
                return opened.run(None, inputs)
        # ONNX Runtime raises exceptions of its own without a common base.
        except Exception as error:
            raise ValueError(f"ONNX Runtime cannot run this part ({line(error)})") from None

    return started


def session(model: bytes, **settings: object) -> Any:
    """Return a session of ONNX Runtime with the ``settings`` of its options.

    Raises
    ------
    ValueError
        It refuses the model.
    """
    runtime = extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    skipped = settings.pop("disabled_optimizers", [])
    for name, value in settings.items():
        setattr(options, name, value)
    try:
        with limited(WORKING):
            return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"],
                                            disabled_optimizers=skipped)
    # As above.
    except Exception as error:
        raise ValueError(f"ONNX Runtime refuses it ({line(error)})") from None


def line(error: Exception) -> str:
    """Return the first line of an error of a package whose errors have many."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
