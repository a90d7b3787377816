"""One layer alone, whose operand is the image and whose results are the output."""

from dataclasses import replace

import numpy as np

from deltamoe.golden.numerics import SHIFTS
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.limits import within
from deltamoe.rtl.compiler.linker import link
from deltamoe.rtl.compiler.matrices import Matrices
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Dest, Linear, Load, Source, Store, Target


def compile_layer(layer: Linear, weight: np.ndarray, hw: HwConfig, *,
                  bias: np.ndarray | None = None, multiplier: np.ndarray | None = None,
                  name: str = "layer") -> Program:
    """Compile one layer: rows of operands times ``weight``.

    Parameters
    ----------
    layer : Linear
        Its ``rows``, ``mode``, ``operand_signed``, ``zero_point`` and ``shift``; where the rows
        come from and go to follows from their shapes.
    weight : np.ndarray
        (N, K) integers of 8 bits.
    hw : HwConfig
        What runs it.
    bias, multiplier : np.ndarray, optional
        (N,) integers; by default no bias, and the multiplier with which the results of the least
        shift are the sums.
    name : str
        Its name, of which the loads have theirs.

    Raises
    ------
    ValueError
        The hardware cannot hold it; names the dimension, its value and what is allowed.
    """
    (columns, depth), rows = weight.shape, layer.rows
    stride, words = -(-depth // hw.word), -(-columns // hw.word)
    image, output = -(-rows * stride // 2), rows * words
    within(name, hw, [("rows", rows, hw.max_tokens), ("depth", depth, hw.max_depth),
                      ("image words", 2 * image, hw.act_words),
                      ("residual words", output, hw.residual_words)])
    c = Matrices(hw)
    c.load("image", Load(target=Target.IMAGE, beats=image), np.zeros(0, np.uint8))
    c.linear(name, replace(layer, source=Source.ACT, source_stride=stride, dest=Dest.OUTPUT,
                           dest_stride=words), weight,
             biases=np.zeros(columns, np.int64) if bias is None else bias,
             multipliers=np.full(columns, 1 << SHIFTS[0]) if multiplier is None else multiplier)
    c.compute("store", Store(target=Target.RESIDUAL, beats=output))
    c.halt()
    return link(name, c, 1, image, output)
