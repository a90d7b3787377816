"""Signatures of what crosses from unit to unit and is no stream: memory ports, operators, counts.

Members have the direction that whoever asks sees; the unit that answers has the signature as
``In``. What is unidirectional and comes with a handshake is a stream of a layout in
:mod:`deltamoe.rtl.formats`.
"""

from collections.abc import Mapping

from amaranth import Module, ShapeLike, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import ReadPort, WritePort
from amaranth.lib.wiring import In, Out

from deltamoe.golden.numerics import RESIDUAL, TABLE
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import DESCRIPTOR, Target
from deltamoe.rtl.formats import PARAMETER, STORING, if_kept, words_beside


class Write(wiring.Signature):
    """Write port of a memory.

    Parameters
    ----------
    depth : int
        Words of the memory.
    shape : ShapeLike
        What is written.
    parts : int
        Parts of a word that are written apart.

    Members
    -------
    en : ``Out(parts)``
        The parts that are written in this cycle.
    address, data : ``Out(range(depth))``, ``Out(shape)``
        Word, and what it becomes.
    """

    def __init__(self, depth: int, shape: ShapeLike, *, parts: int = 1) -> None:
        super().__init__({"en": Out(parts), "address": Out(range(depth)), "data": Out(shape)})


class YieldingWrite(wiring.Signature):
    """Write port that others have precedence on.

    Members
    -------
    en, address, data
        As in :class:`Write`; ``en`` only while ``free``.
    free : ``In(1)``
        Nobody else writes in this cycle.
    """

    def __init__(self, depth: int, shape: ShapeLike) -> None:
        super().__init__({**Write(depth, shape).members, "free": In(1)})


class GroupWrite(wiring.Signature):
    """Write port of the memories of the lane groups.

    Members
    -------
    en, address, data
        As in :class:`Write`.
    groups : ``Out(hw.groups)``
        The groups that are written.
    """

    def __init__(self, hw: HwConfig, port: Write) -> None:
        super().__init__({**port.members, "groups": Out(hw.groups)})


class Read(wiring.Signature):
    """Read port of a memory.

    Parameters
    ----------
    depth : int
        Words of the memory.
    shape : ShapeLike
        A word.

    Members
    -------
    address, data : ``Out(range(depth))``, ``In(shape)``
        Word, and what it holds, in the next cycle, or in a later one that the unit states.
    """

    def __init__(self, depth: int, shape: ShapeLike) -> None:
        super().__init__({"address": Out(range(depth)), "data": In(shape)})


class YieldingRead(wiring.Signature):
    """Read port that others have precedence on.

    Members
    -------
    address, data
        As in :class:`Read`.
    granted : ``In(1)``
        It is ``address`` that is read in this cycle.
    """

    def __init__(self, depth: int, shape: ShapeLike) -> None:
        super().__init__({**Read(depth, shape).members, "granted": In(1)})


class ActivationRead(wiring.Signature):
    """Read port of the activations.

    Members
    -------
    address, data : ``Out(range(hw.act_words))``, ``In(bytes_of(hw))``
        Word, and what it holds, ``Activations.READ`` cycles later.
    beside, upper : ``In(words_beside(hw)).array(2)``, ``In(1)``
        The words that follow it, if ``address`` is a multiple of ``read_words``: of either half of
        the memory, and which to take. If words are read together.
    """

    def __init__(self, hw: HwConfig) -> None:
        beside = {"beside": In(words_beside(hw)).array(2), "upper": In(1)}
        super().__init__({**Read(hw.act_words, bytes_of(hw)).members,
                          **(beside if hw.read_words > 1 else {})})


class Recall(wiring.Signature):
    """Read port of the references that has precedence.

    Members
    -------
    address, data
        As in :class:`Read`.
    recalls : ``Out(1)``
        ``address`` is to be read; of no bits if nothing is kept.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({**Read(hw.reference_words, bytes_of(hw)).members,
                          **{name: Out(shape) for name, shape in
                             if_kept(hw, {"recalls": 1}).items()}})


class Lookup(wiring.Signature):
    """Read port of a memory that answers in the same cycle.

    Members
    -------
    address, data : ``Out(range(depth))``, ``In(shape)``
        Word, and what it holds.
    """

    def __init__(self, depth: int, shape: ShapeLike) -> None:
        super().__init__({"address": Out(range(depth)), "data": In(shape)})


def attach(m: Module, user, port: ReadPort | WritePort) -> None:
    """Give a port of a memory to ``user``, an interface like :class:`Write` or :class:`Read`."""
    m.d.comb += port.addr.eq(user.address)
    if isinstance(port, WritePort):
        m.d.comb += [port.en.eq(user.en), port.data.eq(user.data)]
    else:
        m.d.comb += user.data.eq(port.data)


def bytes_of(hw: HwConfig) -> data.ArrayLayout:
    """A word of activations, normalized rows, probabilities or references."""
    return data.ArrayLayout(8, hw.word)


def sums_of(hw: HwConfig) -> data.ArrayLayout:
    """A word of accumulators."""
    return data.ArrayLayout(signed(hw.acc_width), hw.word)


def residual_of(hw: HwConfig) -> data.ArrayLayout:
    """A word of the residual stream."""
    return data.ArrayLayout(signed(RESIDUAL.bits), hw.word)


def parameters_of(hw: HwConfig) -> data.ArrayLayout:
    """A word of parameters, one for each of its channels."""
    return data.ArrayLayout(PARAMETER, hw.word)


def table_write() -> Write:
    """Write port of the activation table; the highest bit of the address is the bank."""
    return Write(2 * TABLE, 8)


def weight_write(hw: HwConfig) -> Write:
    """Write port of a group's weights, a row at a time."""
    return Write(hw.weight_rows, data.ArrayLayout(signed(8), hw.lanes))


def kv_write(hw: HwConfig) -> Write:
    """Write port of a group's keys and values; ``data`` are half a row, ``en`` says which."""
    return Write(hw.kv_rows, data.ArrayLayout(signed(8), hw.word), parts=2)


class KeptLoads(wiring.Signature):
    """Write ports of what is kept from frame to frame.

    Members
    -------
    state : ``Out(YieldingWrite(hw.state_words, int32 of a word))``
        Kept sums.
    reference : ``Out(YieldingWrite(hw.reference_words, bytes_of(hw)))``
        References.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "state": Out(YieldingWrite(hw.state_words, data.ArrayLayout(signed(32), hw.word))),
            "reference": Out(YieldingWrite(hw.reference_words, bytes_of(hw))),
        })


class Loads(wiring.Signature):
    """Write ports of all that a ``LOAD`` fills, but for the program.

    Members
    -------
    weight : ``Out(GroupWrite(hw, weight_write(hw)))``
        Weights.
    parameter, norm : ``Out(Write(…, parameters_of(hw)))``
        Parameters of products, and of LayerNorm, whose multiplier is the signed gain.
    table : ``Out(table_write())``
        Entries of the activation table.
    residual : ``Out(Write(hw.residual_words, residual_of(hw)))``
        Words of the residual stream.
    image : ``Out(Write(hw.act_words // 2, 8 * hw.lanes))``
        Two words of activations.
    kept : ``Out(KeptLoads(hw))``
        What is kept; never written if nothing is.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "weight": Out(GroupWrite(hw, weight_write(hw))),
            "parameter": Out(Write(hw.param_words, parameters_of(hw))),
            "norm": Out(Write(hw.norm_words, parameters_of(hw))),
            "table": Out(table_write()),
            "residual": Out(Write(hw.residual_words, residual_of(hw))),
            "image": Out(Write(hw.act_words // 2, 8 * hw.lanes)),
            "kept": Out(KeptLoads(hw)),
        })


def stored_words(hw: HwConfig) -> int:
    """Words of the largest memory that a ``STORE`` reads."""
    return max(hw.residual_words, hw.state_words, hw.reference_words)


class StoreRead(wiring.Signature):
    """Read port of all that a ``STORE`` reads.

    Members
    -------
    running : ``Out(1)``
        A ``STORE`` reads.
    target, address, half : ``Out(Target)``, ``Out(range(stored_words(hw)))``, ``Out(1)``
        The memory, its word, and the half of the beat that it is or is read for.
    granted, data : ``In(1)``, ``In(8 * hw.bus_bytes)``
        Whether that memory was read for this in the cycle before; the beat, ``Residual.READ``
        cycles after its address. That of a word of references is whole after its second half.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "running": Out(1), "target": Out(Target), "address": Out(range(stored_words(hw))),
            "half": Out(1), "granted": In(1), "data": In(8 * hw.bus_bytes),
        })


class Queues(wiring.Signature):
    """What is known of the experts' queues, in the same cycle.

    Members
    -------
    occupied : ``Out(Lookup(256, 1))``
        Whether a queue has tokens.
    lengths : ``Out(Lookup(256, range(hw.max_tokens + 1)))``
        How many it has.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({"occupied": Out(Lookup(256, 1)),
                          "lengths": Out(Lookup(256, range(hw.max_tokens + 1)))})


class Counts(wiring.Signature):
    """What this cycle adds to counters.

    Parameters
    ----------
    shapes : Mapping
        Shapes of the increments by the names of :data:`deltamoe.rtl.control.counters.COUNTERS`,
        which are the members.
    """

    def __init__(self, shapes: Mapping[str, ShapeLike]) -> None:
        super().__init__({name: Out(shape) for name, shape in shapes.items()})


class Operator(wiring.Signature):
    """An operator and when it begins.

    Members
    -------
    descriptor, start : ``Out(DESCRIPTOR)``, ``Out(1)``
        Stable from ``start``, its first cycle, until it is over.
    """

    def __init__(self) -> None:
        super().__init__({"descriptor": Out(DESCRIPTOR), "start": Out(1)})


class Issue(wiring.Signature):
    """The operator whose items are made.

    Members
    -------
    operator, op : ``Out(Operator())``, ``Out(3)``
        The operator and its number.
    released, ready_rows : ``Out(1)``, ``Out(range(hw.max_tokens + 1))``
        All that it waits for has finished; if not, how many rows of that have.
    rows : ``Out(range(hw.max_tokens + 1))``
        Its rows, if it is an operator: the descriptor's, or the length of its queue.
    issued : ``In(1)``
        Its last item is taken.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({
            "operator": Out(Operator()), "op": Out(3), "released": Out(1),
            "ready_rows": Out(range(hw.max_tokens + 1)), "rows": Out(range(hw.max_tokens + 1)),
            "issued": In(1),
        })


class Draining(wiring.Signature):
    """The operator whose results may leave.

    Members
    -------
    operator, op, active : ``Out(Operator())``, ``Out(3)``, ``Out(1)``
        The operator and its number, if there is one.
    row_written, written : ``In(1)``
        A row, all of it has been written, or is in the corner turn or the gate.
    """

    def __init__(self) -> None:
        super().__init__({"operator": Out(Operator()), "op": Out(3), "active": Out(1),
                          "row_written": In(1), "written": In(1)})


class Deferred(wiring.Signature):
    """The last operator to keys or gate, which may end behind the next.

    Members
    -------
    operator : ``Out(Operator())``
        The operator, from the cycle after the first in which it drains.
    ended : ``In(1)``
        Its last key or route is being written.
    """

    def __init__(self) -> None:
        super().__init__({"operator": Out(Operator()), "ended": In(1)})


class Stores(wiring.Signature):
    """Transfers of ``STORE``.

    Members
    -------
    requests : ``Out(stream.Signature(STORING, always_ready=True))``
        Transfers; no more than ``StoreReader.DEPTH`` at a time.
    memory_base : ``Out(40)``
        Byte address that theirs are relative to.
    finished, position : ``In(1)``, ``In(16)``
        The one that runs has ended; its place in the program.
    """

    def __init__(self) -> None:
        super().__init__({
            "requests": Out(stream.Signature(STORING, always_ready=True)),
            "memory_base": Out(40), "finished": In(1), "position": In(16),
        })


class Master(wiring.Signature):
    """What ends the transfers of a master of the bus.

    Members
    -------
    drain : ``Out(1)``
        Begin no transfer, and end those in flight.
    progress, idle : ``In(1)``
        Something has moved; the bus owes nothing and is offered nothing.
    """

    def __init__(self) -> None:
        super().__init__({"drain": Out(1), "progress": In(1), "idle": In(1)})
