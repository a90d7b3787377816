"""What the network of a point sees, checked."""

from typing import Annotated, ClassVar

from pydantic import Field

from deltamoe.experiments.points.values import Count
from deltamoe.experiments.reading import Strict

Share = Annotated[float, Field(ge=0, le=1)]


class InputSpec(Strict):
    """What the network sees.

    ``image`` is the model's default image. ``statistics`` are operands drawn with these shares, as
    :func:`deltamoe.golden.sparsity.generated.generated` does. A ``.safetensors`` file is a trace,
    as :mod:`deltamoe.golden.sparsity.trace_file` describes it. Any other source is a video. Of
    several frames the first, with nothing to remember, is not counted.
    """

    SHORT: ClassVar[str] = "source"
    DRAWN: ClassVar[tuple[str, ...]] = ("density", "token_correlation", "time_correlation",
                                        "routing_skew")

    source: str
    name: str | None = None
    frames: Count | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    density: Share = 0.5
    token_correlation: Share = 0.0
    time_correlation: Share = 0.0
    routing_skew: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0

    @classmethod
    def keys(cls, value: dict) -> list[str]:
        """Return the keys that the source takes."""
        kind = kind_of(str(value.get("source")))
        taken = {"statistics": cls.model_fields, "video": ("frames", "seed")}.get(kind, ())
        return [key for key in cls.model_fields if key in {"source", "name", *taken}]

    @property
    def kind(self) -> str:
        """``image``, ``statistics``, ``trace`` or ``video``."""
        return kind_of(self.source)

    @property
    def generated(self) -> bool:
        """Whether it is a video that is drawn."""
        return self.kind == "video" and self.source.startswith("generator:")

    @property
    def count(self) -> int:
        """Frames that are shown or drawn."""
        return self.frames or (5 if self.kind == "video" else 1)

    @property
    def statistics(self) -> dict[str, float]:
        """What is drawn."""
        return {name: getattr(self, name) for name in self.DRAWN}

    @property
    def label(self) -> str:
        """Its name; else its source."""
        return self.name or self.source


def kind_of(source: str) -> str:
    """Return what an input is, by its source."""
    if source in {"image", "statistics"}:
        return source
    return "trace" if source.endswith(".safetensors") else "video"
