"""The scores of a last key that takes no tile: no item waits for one.

An item of ``n`` words that is begun @ ``b`` has its last word on ``o`` of the operand source
@ ``b + n - 1 + OperandSource.LATENCY``, and its score is there ``LastKey.latency(hw)`` cycles
later. Its last event is popped @ ``b + n - 1 + ARRIVAL`` at the earliest, its first word selected
``Worker.LATENCY`` cycles later, that of the score two words on or more, and the score is taken in
the cycle after: ``slack(hw)`` cycles after it came.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import EventEncoder, EventQueue, LastKey, Worker
from deltamoe.rtl.program import Attention


def extra_keys(attention: Attention) -> int:
    """Return how many keys take no tile."""
    return int(attention.last_key)


def products(attention: Attention) -> int:
    """Return the multiplications of these keys, each with all elements of a query."""
    return extra_keys(attention) * attention.rows * attention.heads * attention.head_dim


def slack(hw: HwConfig) -> int:
    """Return the fewest cycles that a score is there before it is taken."""
    events = EventEncoder.timing.latency + EventQueue.timing.latency + Worker.LATENCY
    return events + 2 + 1 - LastKey.latency(hw)
