"""Inference of one image, by the float network, the integer network or the Verilog."""

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from deltamoe.api.networks import Network, load
from deltamoe.api.result import Result
from deltamoe.host.files import write
from deltamoe.lookup import weights
from deltamoe.terminal import Table

if TYPE_CHECKING:
    import numpy as np

    from deltamoe.golden.data.video import Pixels
    from deltamoe.golden.engines import Output

ENGINES = ("float", "integer", "rtl")


@dataclass(frozen=True)
class Inference(Result):
    """What one engine makes of an image.

    Attributes
    ----------
    network : Network
        What is computed.
    hardware : str
        What computes it, if ``engine`` is ``rtl``.
    engine : str
        ``float``, ``integer`` or ``rtl``.
    task : int
        Which of the network's tasks.
    output : deltamoe.golden.engines.Output
        Tokens (T, D) and class scores, if there are classes: real ones, else int16.
    real : deltamoe.golden.engines.Output, optional
        Those of the float network, where it is known.
    """

    network: Network
    hardware: str
    engine: str
    task: int
    output: "Output"
    real: "Output | None"

    @property
    def sqnr_db(self) -> float | None:
        """Ratio of signal to noise against the float network, in dB, of an integer output."""
        from deltamoe.golden.engines import sqnr_db

        if self.real is None or self.engine == "float":
            return None
        return sqnr_db(self.output, self.real, self.network.weights.quantized.residual_scale)

    @cached_property
    def outputs(self) -> dict[str, "np.ndarray"]:
        """The user's outputs by their names, of a network whose last part is on the host."""
        if self.network.host is None:
            return {}
        return self.network.host.run(self.output.x / (
            1.0 if self.engine == "float" else self.network.weights.quantized.residual_scale))

    def save_outputs(self, path: Path) -> None:
        """Write the user's outputs into one ``.npz`` file, whole or not at all.

        Raises
        ------
        ValueError
            There are none.
        OSError
            The file cannot be written.
        """
        import numpy as np

        if not self.outputs:
            raise ValueError(f"{self.network.name} has no part on the host, and so no outputs of "
                             "other names")
        content = BytesIO()
        np.savez(content, **self.outputs)
        write(path, content.getvalue())

    def measured(self) -> dict:
        """Return what only this engine knows."""
        return {}

    def figures(self) -> dict:
        return {"model": self.network.name, "hardware": self.hardware, "engine": self.engine,
                "task": self.task, **self.measured(), "output_sha256": self.output.sha256,
                "predicted": self.output.predicted, "weights": weights(self.network.name),
                "sqnr_db": self.sqnr_db, **({"outputs": {
                    name: {"shape": list(value.shape), "largest": int(value.argmax())}
                    for name, value in self.outputs.items()}} if self.network.host else {})}

    def table(self) -> Table:
        table = Table("", self.network.name)
        for name, value in self.figures().items():
            if name == "counters":
                for counter, count in value.items():
                    table.add_row(counter, f"{count:,}")
            else:
                table.add_row(name, str(value))
        return table


def pixels_of(network: Network, image: str | Path | None) -> "Pixels":
    """Return an image's pixels, uint8 (C, height, width); by default the network's test image.

    Raises
    ------
    ValueError
        It has another size, or is no image.
    """
    if image is None:
        from deltamoe.golden.library import default_image

        return default_image(network.config)
    from deltamoe.golden.data.images import load_image

    return load_image(Path(image), network.config, network.preprocessing)


def real_of(network: Network, pixels: "Pixels", task: int) -> "Output | None":
    """Return the float network's output, if the network has float weights."""
    from deltamoe.golden.engines import real_output

    return None if network.known.real is None else real_output(network.known.real, pixels, task)


def infer(model: str | Path | Network, image: str | Path | None = None, *, hardware: str = "nano",
          engine: str = "integer", task: int = 0) -> Inference:
    """Run one image through the float or the integer network.

    Parameters
    ----------
    model, task
        As :func:`deltamoe.api.program.compile` takes them.
    image : str or Path, optional
        Image of the network's size; by default its test image.
    hardware : str
        Is named in the result; :func:`deltamoe.api.verilog.run_verilog` runs it.
    engine : str
        ``float`` or ``integer``.

    Raises
    ------
    ValueError
        Names what is wrong; or a quantized file has no float weights.
    """
    from deltamoe.golden.engines import integer_output

    network = load(model)
    pixels = pixels_of(network, image)
    network.check_task(task)
    real = real_of(network, pixels, task)
    if engine == "float" and real is None:
        raise ValueError(f"{network.name}: a quantized file has no float weights; use a preset")
    output = real if engine == "float" else integer_output(network.weights, pixels, task)[0]
    return Inference(network, hardware, engine, task, output, real)
