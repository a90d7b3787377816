"""What a file of weights cannot tell, and its user can."""

from dataclasses import dataclass

from deltamoe.golden.importing.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is said of a network beside its file; None: the file tells, or it is asked for.

    Attributes
    ----------
    heads : int, optional
        Attention heads.
    image : tuple of int, optional
        Height and width of an image.
    top_k : int, optional
        Experts of a token.
    norm, activation : str, optional
        As :class:`deltamoe.golden.config.ModelConfig` has them.
    epsilon : float, optional
        What is added to a row's variance.
    container : str, optional
        Which of several dictionaries of tensors is meant.
    preprocessing : Preprocessing, optional
        What the network's own program does to a picture.
    crop_share : float, optional
        Share of a picture's shorter side that the network sees, where its preprocessing does not
        say how a picture gets its size; None is all of it.
    pad : str, optional
        ``center`` or ``corner``: instead, all of a picture is seen, and lies there.
    fill : tuple of int, optional
        What a picture is filled up with then, by channel or for all; None: what becomes zero.
    """

    heads: int | None = None
    image: tuple[int, int] | None = None
    top_k: int | None = None
    norm: str | None = None
    activation: str | None = None
    epsilon: float | None = None
    container: str | None = None
    preprocessing: Preprocessing | None = None
    crop_share: float | None = None
    pad: str | None = None
    fill: tuple[int, ...] | None = None
