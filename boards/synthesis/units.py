"""The accelerator as units that are synthesized alone, so that each is counted exactly once.

A unit's Verilog holds all of it but the units of :data:`UNITS` inside it: these are black boxes
there. So every part of the accelerator is in one unit, and a unit counts as often as it occurs.
"""

import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from amaranth import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.attention.corner_turn import CornerTurn
from deltamoe.rtl.attention.kv_writer import KvWriter
from deltamoe.rtl.attention.probabilities import Probabilities
from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.registers import Registers
from deltamoe.rtl.control.run_control import RunControl
from deltamoe.rtl.control.sequencer import Sequencer
from deltamoe.rtl.datapath import Datapath
from deltamoe.rtl.generate import to_verilog
from deltamoe.rtl.linear.compute_unit import ComputeUnit
from deltamoe.rtl.linear.drain import Drain
from deltamoe.rtl.linear.event_encoder import EventEncoder
from deltamoe.rtl.linear.item_generator import ItemGenerator
from deltamoe.rtl.linear.lane_group import LaneGroup
from deltamoe.rtl.linear.mac_pair import MacPair
from deltamoe.rtl.linear.operand_source import OperandSource
from deltamoe.rtl.linear.worker import Worker
from deltamoe.rtl.memory.dma_reader import DmaReader
from deltamoe.rtl.memory.dma_writer import DmaWriter
from deltamoe.rtl.memory.loader import Loader
from deltamoe.rtl.memory.store_ports import StorePorts
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.moe.dispatch import Dispatch
from deltamoe.rtl.moe.gate import Gate
from deltamoe.rtl.norm.layer_norm import LayerNorm
from deltamoe.rtl.norm.normalization import Normalization
from deltamoe.rtl.norm.normalize_lane import NormalizeLane
from deltamoe.rtl.temporal.kept_sums import KeptSums
from deltamoe.rtl.writeback.activation_table import ActivationTable
from deltamoe.rtl.writeback.combine import Combine
from deltamoe.rtl.writeback.requantize import Requantize
from deltamoe.rtl.writeback.residual import Residual
from deltamoe.rtl.writeback.writeback import Writeback

UNITS = {unit.__name__: unit for unit in (
    Accelerator, Registers, RunControl, Sequencer, DmaReader, DmaWriter, Loader, StoreReader,
    Datapath, StorePorts, ItemGenerator, OperandSource, EventEncoder, ComputeUnit, Worker,
    LaneGroup, Drain, Writeback, Requantize, ActivationTable, Combine, CornerTurn, KvWriter, Gate,
    Dispatch, Residual, Normalization, LayerNorm, NormalizeLane, Probabilities, Softmax, KeptSums,
)}
"""Units by name; whoever contains another comes before it."""


@dataclass(frozen=True)
class Unit:
    """A unit of the accelerator.

    Attributes
    ----------
    name : str
        Its class.
    instances : int
        How often it occurs in the accelerator.
    text : str
        Its Verilog, with top module ``top``.
    boxes : str
        Verilog of the black boxes in it.
    inside : dict
        How often it holds each black box.
    """

    name: str
    instances: int
    text: str
    boxes: str
    inside: dict[str, int]


def ports(unit: wiring.Component) -> Iterator[tuple[str, str, Value]]:
    """Return direction, name and value of every port, clock and reset included."""
    yield "i", "clk", ClockSignal()
    yield "i", "rst", ResetSignal(allow_reset_less=True)
    for path, member, value in unit.signature.flatten(unit):
        yield "i" if member.flow is In else "o", "__".join(map(str, path)), Value.cast(value)


def black_box(unit: wiring.Component) -> str:
    """Return a module in Verilog that has only ports."""
    declared = ", ".join(
        f"{'input' if direction == 'i' else 'output'} [{len(value) - 1}:0] \\{name} "
        for direction, name, value in ports(unit))
    return f"(* blackbox *)\nmodule {type(unit).__name__}({declared});\nendmodule\n"


@contextmanager
def boxed(top: wiring.Component, kinds: tuple[type, ...]) -> Iterator[list[wiring.Component]]:
    """Let units of ``kinds``, other than ``top``, elaborate to black boxes; collect them."""
    found: list[wiring.Component] = []
    originals = {kind: kind.elaborate for kind in kinds}

    def elaborate(unit, platform):
        if unit is top:
            return originals[type(unit)](unit, platform)
        found.append(unit)
        return Instance(type(unit).__name__, *ports(unit))

    try:
        for kind in kinds:
            kind.elaborate = elaborate
        yield found
    finally:
        for kind, original in originals.items():
            kind.elaborate = original


def split(hw: HwConfig, *, box_pairs: bool) -> Iterator[Unit]:
    """Return all units that an accelerator has; ``box_pairs`` makes MacPair a black box too."""
    kinds = (*UNITS.values(), MacPair) if box_pairs else tuple(UNITS.values())
    counts = Counter({"Accelerator": 1})
    for name, kind in UNITS.items():
        if not counts[name]:
            continue
        unit = kind(hw) if inspect.signature(kind).parameters else kind()
        with boxed(unit, kinds) as found:
            text = to_verilog(unit, "top")
        inside = Counter(type(box).__name__ for box in found)
        for box, count in inside.items():
            counts[box] += count * counts[name]
        different = {type(box): box for box in found}
        yield Unit(name, counts[name], text, "".join(map(black_box, different.values())),
                   dict(inside))
