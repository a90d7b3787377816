"""Sums and maxima of a word, in trees of registers.

::

    16 terms ──► 4 sums of 4 ──►│──► their sum ──►│
"""

from collections.abc import Sequence

from amaranth import Module, Mux, Signal, Value

from deltamoe.rtl.cycles import ADDED


def total(m: Module, terms: Sequence[Value], name: str, enable: Value | int = 1) -> Value:
    """Return the sum of ``terms``, ``cycles.adding(len(terms))`` enabled cycles later.

    ``ADDED`` terms are added to a register at a time, so that no path is longer than two adders.
    """
    stage = 0
    while len(terms) > 1:
        sums = []
        for n in range(0, len(terms), ADDED):
            group = terms[n : n + ADDED]
            added = balanced(group)
            sums.append(Signal(added.shape(), name=f"{name}_{stage}_{n // ADDED}", reset_less=True))
            with m.If(enable):
                m.d.sync += sums[-1].eq(added)
        terms, stage = sums, stage + 1
    return terms[0]


def balanced(terms: Sequence[Value]) -> Value:
    """Return the sum of ``terms`` from adders of neighbors, where ``sum`` is a chain."""
    half = (len(terms) + 1) // 2
    return balanced(terms[:half]) + balanced(terms[half:]) if half < len(terms) else terms[0]


def maximum(m: Module, terms: Sequence[Value], count: Value, lowest: int, name: str) -> Value:
    """Return the largest of the first ``count`` terms, ``comparing(len(terms))`` cycles later.

    The terms are a power of two, two at least; ``lowest`` is below none of them. Which of them
    count is told while the first ones are compared.
    """
    stage = 0
    while len(terms) > 1:
        larger = [Signal.like(term, name=f"{name}_{stage}_{n}", reset_less=True)
                  for n, term in enumerate(terms[::2])]
        for n, result in enumerate(larger):
            left, right = terms[2 * n : 2 * n + 2]
            choice = Mux((right > left) & (1 if stage else 2 * n + 1 < count), right, left)
            m.d.sync += result.eq(choice if stage else Mux(2 * n < count, choice, lowest))
        terms, stage = larger, stage + 1
    return terms[0]
