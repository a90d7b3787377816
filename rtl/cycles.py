"""Cycles and depths of the units, as numbers: what the simulator and the compiler know of them.

Each class is the base of the unit of its name, whose docstring says what its numbers mean: cycles,
unless they are a :class:`deltamoe.rtl.timing.Depth`. They are here so that neither the simulator
nor the compiler needs Amaranth.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.timing import Depth, Timing

DESCRIPTOR_BYTES = 64
PARAMETER_BYTES = 8
"""A column's bias and multiplier."""

RUN = 8
"""Most events summed before a flush: 8 * 255 * 127 fits the 19 bits of a packed product."""

QUOTIENT = 16
"""Bits of a quotient."""

GATE_LANES = 2
"""Logits that the gate ranks, and exponentiates, in a cycle."""

ADDED = 4
"""Terms that are added from register to register."""


def adding(terms: int) -> int:
    """Cycles of :func:`deltamoe.rtl.arith.trees.total`."""
    return 1 + adding(-(-terms // ADDED)) if terms > 1 else 0


def comparing(terms: int) -> int:
    """Cycles of :func:`deltamoe.rtl.arith.trees.maximum`."""
    return 1 + comparing(-(-terms // 2)) if terms > 1 else 0


class Activations:
    """See :class:`deltamoe.rtl.memory.activations.Activations`."""

    READ = 2


class ActivationTable:
    """See :class:`deltamoe.rtl.writeback.activation_table.ActivationTable`."""

    timing = Timing(latency=1)


class Checks:
    """See :class:`deltamoe.rtl.control.checks.descriptor.Checks`."""

    DERIVED = 1
    LATENCY = DERIVED + 3

    @staticmethod
    def ranges(loads: bool) -> int:
        """Most ranges of a load, or of another descriptor."""
        return 2 if loads else 8


class Combine:
    """See :class:`deltamoe.rtl.writeback.combine.Combine`."""

    timing = Timing(latency=2)


class ComputeExecutor:
    """See :class:`deltamoe.rtl.control.executor.ComputeExecutor`."""

    START = 1


class ComputeUnit:
    """See :class:`deltamoe.rtl.linear.compute_unit.ComputeUnit`."""

    READ_LATENCY = 7


class CornerTurn:
    """See :class:`deltamoe.rtl.attention.corner_turn.CornerTurn`."""

    LATENCY = 3


class Divider:
    """See :class:`deltamoe.rtl.arith.divider.Divider`."""

    LATENCY = QUOTIENT + 1


class DmaReader:
    """See :class:`deltamoe.rtl.memory.dma_reader.DmaReader`."""

    ADDRESS = 1


class DmaWriter:
    """See :class:`deltamoe.rtl.memory.dma_writer.DmaWriter`."""

    BEAT = 2
    DONE = 1


class EventEncoder:
    """See :class:`deltamoe.rtl.linear.event_encoder.EventEncoder`."""

    timing = Timing(latency=2)

    WRITTEN = 1


class EventQueue:
    """See :class:`deltamoe.rtl.linear.event_queue.EventQueue`."""

    timing = Timing(latency=2)


class Fifo:
    """See :class:`deltamoe.rtl.stream.fifo.Fifo`."""

    timing = Timing(latency=1)


class GateExponential:
    """See :class:`deltamoe.rtl.moe.gate_exponential.GateExponential`."""

    SCALED = 4
    LATENCY = SCALED + 4


class Gate:
    """See :class:`deltamoe.rtl.moe.gate.Gate`."""

    TOKENS = Depth(4)
    ROUTED = Depth(8)
    FETCHED = 2
    LATENCY = GateExponential.LATENCY + Divider.LATENCY + Fifo.timing.latency

    @staticmethod
    def steps(num_experts: int) -> int:
        """Cycles to read all logits."""
        return -(-num_experts // GATE_LANES)


class InterleavedReader:
    """See :class:`deltamoe.rtl.memory.interleaved_reader.InterleavedReader`."""

    ADDRESS = 1
    WORD = Fifo.timing.latency + 1


class InterleavedWriter:
    """See :class:`deltamoe.rtl.memory.interleaved_writer.InterleavedWriter`."""

    WORD = 1
    DONE = 2


class ItemGenerator:
    """See :class:`deltamoe.rtl.linear.item_generator.ItemGenerator`."""

    LATENCY = 3


class KeptSums:
    """See :class:`deltamoe.rtl.temporal.kept_sums.KeptSums`."""

    LATENCY = 3


class Drain:
    """See :class:`deltamoe.rtl.linear.drain.Drain`."""

    START = 1
    VISIBLE = Fifo.timing.latency + 2

    @staticmethod
    def latency(hw: HwConfig) -> int:
        """Cycles from the selection of a word to its sums: kept ones are added on the way."""
        return ComputeUnit.READ_LATENCY + (KeptSums.LATENCY if hw.temporal else 0)


class NormalizeLane:
    """See :class:`deltamoe.rtl.norm.normalize_lane.NormalizeLane`."""

    LATENCY = 7


class Rsqrt:
    """See :class:`deltamoe.rtl.arith.rsqrt.Rsqrt`."""

    LATENCY = 5


class LayerNorm:
    """See :class:`deltamoe.rtl.norm.layer_norm.LayerNorm`."""

    ROWS = Depth(4)
    SCALAR = 3 + Rsqrt.LATENCY

    @staticmethod
    def summed(hw: HwConfig) -> int:
        """Cycles from a row's last word to its sums."""
        return 2 + adding(hw.word)

    @classmethod
    def latency(cls, hw: HwConfig) -> int:
        """Cycles from a row's last word to its first normalized one."""
        return cls.summed(hw) + cls.SCALAR + 3 + NormalizeLane.LATENCY


class KvWriter:
    """See :class:`deltamoe.rtl.attention.kv_writer.KvWriter`."""

    LATENCY = 1


class LastKey:
    """See :class:`deltamoe.rtl.attention.last_key.LastKey`."""

    @staticmethod
    def latency(hw: HwConfig) -> int:
        """Cycles from the last word of a query to its score."""
        return 2 + adding(hw.word) + Fifo.timing.latency


class LoadExecutor:
    """See :class:`deltamoe.rtl.control.executor.LoadExecutor`."""

    COMMAND = 1
    JUDGED = 1


class OperandSource:
    """See :class:`deltamoe.rtl.linear.operand_source.OperandSource`."""

    HELD = 1
    CHOSEN = 2
    SHORTEST = 2
    LATENCY = Activations.READ + 1


class ProbeItems:
    """See :class:`deltamoe.rtl.temporal.probe_items.ProbeItems`."""

    LATENCY = 3


class Requantize:
    """See :class:`deltamoe.rtl.writeback.requantize.Requantize`."""

    timing = Timing(latency=4)


class Residual:
    """See :class:`deltamoe.rtl.writeback.residual.Residual`."""

    READ = 3
    LATENCY = READ + 1


class Retirement:
    """See :class:`deltamoe.rtl.control.retirement.Retirement`."""

    DEPTH = Depth(4)


class RowReader:
    """See :class:`deltamoe.rtl.memory.row_reader.RowReader`."""

    LATENCY = 1 + Residual.READ
    BETWEEN = Residual.READ + 1


class Softmax:
    """See :class:`deltamoe.rtl.attention.softmax.Softmax`."""

    ROWS = Depth(4)
    POWER = 4

    @staticmethod
    def found(hw: HwConfig) -> int:
        """Cycles from a row's last word to the first read."""
        return 1 + comparing(hw.word)

    @staticmethod
    def summed(hw: HwConfig) -> int:
        """Cycles from a row's last exponential until its sum is divided by."""
        return adding(hw.word) + 2

    @classmethod
    def division(cls, hw: HwConfig) -> int:
        """Cycles from a row's last exponential to its normalizer."""
        return cls.summed(hw) + Divider.LATENCY


class StoreReader:
    """See :class:`deltamoe.rtl.memory.store_reader.StoreReader`."""

    DEPTH = Depth(8)
    AHEAD = Depth(Residual.READ + 2)
    LATENCY = Residual.READ + Fifo.timing.latency


class TransferQueue:
    """See :class:`deltamoe.rtl.control.transfer_queue.TransferQueue`."""

    DEPTH = Depth(8)
    LATENCY = Fifo.timing.latency + 1


class Walker:
    """See :class:`deltamoe.rtl.control.walker.Walker`."""

    SKIP = 3

    @staticmethod
    def parts(hw: HwConfig) -> int:
        """Rows of the program memory that a descriptor takes."""
        return DESCRIPTOR_BYTES // hw.bus_bytes

    @classmethod
    def rows(cls, hw: HwConfig) -> int:
        """Rows of the program memory."""
        return hw.program_depth * cls.parts(hw)

    @classmethod
    def fetch_to_offer(cls, hw: HwConfig, loads: bool) -> int:
        """Cycles from the fetch of an own descriptor until it is offered."""
        others = max(0, cls.parts(hw) - 2)  # parts that come while the opcode is not looked at
        return cls.SKIP + others + Checks.LATENCY + Checks.ranges(loads)


class Worker:
    """See :class:`deltamoe.rtl.linear.worker.Worker`."""

    LATENCY = 8
    FLUSHES = 2
    FREED = 2


class Writeback:
    """See :class:`deltamoe.rtl.writeback.writeback.Writeback`."""

    LATENCY = Requantize.timing.latency + ActivationTable.timing.latency + Combine.timing.latency
    DONE = LATENCY + Residual.LATENCY
