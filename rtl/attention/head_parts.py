"""Where the keys and values of a head lie, if ``2**split`` groups hold parts of its sums.

Part ``p`` has elements ``p * n`` to ``(p + 1) * n - 1`` of every word of operands,
``n = word / 2**split``, one behind the other.
"""

from amaranth import Cat, Const, Value

from deltamoe.rtl.arith.select import select
from deltamoe.rtl.config import HwConfig


def part_rows(elements: Value, split: Value, hw: HwConfig) -> Value:
    """Return the rows of a part of sums of ``elements``: of whole words, if there are several."""
    words = (elements + hw.word - 1) // hw.word
    return select(split, [elements, *(words * (hw.word >> number) for number in hw.splits[1:])],
                  beyond=elements)


def part_of(element: Value, split: Value, hw: HwConfig) -> tuple[Value, Value]:
    """Return the row of an element of the sums among those of its part, and this part."""
    bits = hw.word.bit_length() - 1
    rows = [Cat(element[: bits - number], element[bits:]) for number in hw.splits]
    parts = [element[bits - number : bits] if number else Const(0, 1) for number in hw.splits]
    return select(split, rows, beyond=rows[0]), select(split, parts, beyond=parts[0])
