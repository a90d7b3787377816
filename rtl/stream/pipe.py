"""Connect two streams whose payload shapes are equal."""

from amaranth import Module
from amaranth.lib import stream, wiring


def pipe(m: Module, producer: stream.Interface, consumer: stream.Interface) -> None:
    """Connect ``producer`` to ``consumer``.

    Raises
    ------
    TypeError
        The payload shapes differ; ``wiring.connect`` would compare only their widths.
    """
    given, wanted = producer.payload.shape(), consumer.payload.shape()
    if given != wanted:
        raise TypeError(f"payload {given!r} does not match {wanted!r}")
    wiring.connect(m, producer, consumer)
