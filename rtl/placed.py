"""Where the keys and values of a head lie, if ``2**split`` groups hold parts of its sums.

Part ``p`` has elements ``p * n`` to ``(p + 1) * n - 1`` of every word of operands,
``n = word / 2**split``, one behind the other.
"""

from amaranth import Cat, Const, Mux, Value

from deltamoe.rtl.config import HwConfig


def selected(split: Value, values) -> Value:
    """Return ``values[split]``, the first if there is none."""
    first, *others = values
    for number, value in enumerate(others, 1):
        first = Mux(split == number, value, first)
    return first


def part_rows(elements: Value, split: Value, hw: HwConfig) -> Value:
    """Return the rows of a part of sums of ``elements``: of whole words, if there are several."""
    words = (elements + hw.word - 1) // hw.word
    return selected(split, [elements, *(words * (hw.word >> number) for number in hw.splits[1:])])


def part_of(element: Value, split: Value, hw: HwConfig) -> tuple[Value, Value]:
    """Return the row of an element of the sums among those of its part, and this part."""
    bits, whole = hw.word.bit_length() - 1, element[hw.word.bit_length() - 1 :]
    return (selected(split, [Cat(element[: bits - number], whole) for number in hw.splits]),
            selected(split, [element[bits - number : bits] if number else Const(0, 1)
                             for number in hw.splits]))
