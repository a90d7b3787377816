"""LUT levels between registers of the whole accelerator, from the netlists of its units.

Each unit is synthesized once, alone, with the units inside it as black boxes; then the netlists are
put together as the units are, and the longest paths are found through all of it. So nothing is
optimized across the units' borders, and the levels of a path that crosses one are an upper bound.
Paths from and to the accelerator's own ports are left out: what is outside is not known.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil
from typing import Any

import numpy as np

from deltamoe.boards.synthesis.levels import Cell, ways

CONSTANT = -1
"""The net of a constant pin: no path goes through it."""


@dataclass(frozen=True)
class Point:
    """A register, a memory or a multiplier where paths begin or end.

    Attributes
    ----------
    unit : str
        Class of the unit that it is in.
    name : str
        The unit's place in the accelerator, and the name of the cell.
    """

    unit: str
    name: str


@dataclass(frozen=True)
class Path:
    """The deepest path to one register.

    Attributes
    ----------
    levels : float
        LUT levels of the path.
    start, end : Point
        Where it begins and ends.
    units : list of (str, float)
        Units that it goes through, in order, and the levels in each.
    """

    levels: float
    start: Point
    end: Point
    units: list[tuple[str, float]]


@dataclass
class Graph:
    """Nets of the whole accelerator, and the ways between them."""

    nets: int = 0
    cells: list[Point] = field(default_factory=list)
    through: list[tuple[int, int, float, int]] = field(default_factory=list)
    starts: list[tuple[int, float, int]] = field(default_factory=list)
    ends: list[tuple[int, float, int]] = field(default_factory=list)

    def add(self, netlists: Mapping[str, Mapping[str, Any]], unit: str, place: str,
            ports: Mapping[str, list[int]]) -> None:
        """Add a unit and all units inside it.

        Parameters
        ----------
        netlists : Mapping
            By unit, its module as Yosys writes it in JSON.
        unit, place : str
            Which unit; where in the accelerator.
        ports : Mapping of str to list of int
            The nets that its ports are joined to outside.
        """
        module = netlists[unit]
        known: dict[int | str, int] = {}
        for name, port in sorted(module["ports"].items(),
                                 key=lambda found: found[1]["direction"] != "input"):
            for inner, outer in zip(port["bits"], ports.get(name, ()), strict=False):
                self.join(known, inner, outer, unit, place, name, port["direction"])
        for name, cell in module["cells"].items():
            if cell["type"] == "$scopeinfo":
                continue
            pins = {pin: [self.net(known, bit) for bit in bits]
                    for pin, bits in cell["connections"].items()}
            if cell["type"] in netlists:
                self.add(netlists, cell["type"], f"{place}.{clean(name)}".lstrip("."), pins)
            else:
                self.leaf(cell, Point(unit, f"{place}.{clean(name)}".lstrip(".")), pins)

    def net(self, known: dict[int | str, int], bit: int | str) -> int:
        """Return the number of a net of a unit in the whole graph."""
        if isinstance(bit, str):
            return CONSTANT
        if bit not in known:
            known[bit] = self.nets
            self.nets += 1
        return known[bit]

    def join(self, known: dict[int | str, int], inner: int | str, outer: int, unit: str, place: str,
             name: str, direction: str) -> None:
        """Join a bit of a port to the net outside.

        An output that is the same wire as an input, or as another output, becomes a way without
        levels between the two nets.
        """
        if outer == CONSTANT or isinstance(inner, str):
            return
        if inner not in known:
            known[inner] = outer
        elif known[inner] != outer:
            assert direction == "output", f"{unit}.{name} is driven twice"
            self.cells.append(Point(unit, f"{place}.{name}"))
            self.through.append((known[inner], outer, 0, len(self.cells) - 1))

    def leaf(self, cell: Mapping[str, Any], point: Point, pins: Mapping[str, list[int]]) -> None:
        """Add a cell that is no unit."""
        way = cell["port_directions"]
        inside = ways(Cell(cell["type"], point.name,
                           {pin: nets for pin, nets in pins.items() if way[pin] == "input"},
                           {pin: nets for pin, nets in pins.items() if way[pin] == "output"},
                           cell["parameters"]))
        number = len(self.cells)
        self.cells.append(point)
        self.through += [(source, target, levels, number)
                         for source, target, levels in inside.through if CONSTANT not in (
                             source, target)]
        self.starts += [(net, levels, number) for net, levels in inside.starts if net != CONSTANT]
        self.ends += [(net, levels, number) for net, levels in inside.ends if net != CONSTANT]


def clean(name: str) -> str:
    """Return a cell's name, which is that of its wire, without what Yosys adds to it."""
    return re.sub(r"\$\d+|_(TRELLIS_FF|FD[RSCP]E)(_\w+)?$|^\\?\$?", "", name) or name


@dataclass(frozen=True)
class Depth:
    """How deep the logic of an accelerator is.

    Attributes
    ----------
    paths : list of Path
        The deepest, deepest first; no two of the same registers, their bits apart.
    units : dict of str to float
        Levels of the deepest path that ends in each unit.
    ends : dict of int to int
        Inputs of registers by levels, rounded up, of the deepest path to each.
    combinational : dict of str to dict of str to float
        By unit and output port, the levels of the deepest path to it from an input port of the
        same unit; outputs that come from registers are left out.
    """

    paths: list[Path]
    units: dict[str, float]
    ends: dict[int, int]
    combinational: dict[str, dict[str, float]]

    @property
    def levels(self) -> float:
        """Of the deepest path."""
        return self.paths[0].levels


class Longest:
    """The longest ways through a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        through = np.array(graph.through, float).reshape(-1, 4)
        self.source, self.target, self.cell = (through[:, n].astype(int) for n in (0, 1, 3))
        self.weight = through[:, 2]
        self.arrival = np.full(graph.nets, -np.inf)
        self.origin = np.full(graph.nets, CONSTANT)
        for net, levels, cell in graph.starts:
            if levels > self.arrival[net]:
                self.arrival[net], self.origin[net] = levels, cell
        self.incoming = np.argsort(self.target, kind="stable")
        self.first = np.searchsorted(self.target[self.incoming], np.arange(graph.nets + 1))
        self.propagate()

    def propagate(self) -> None:
        """Find how late each net is, one net behind the other.

        Raises
        ------
        ValueError
            Logic without a register ends in itself.
        """
        outgoing = np.argsort(self.source, kind="stable")
        first = np.searchsorted(self.source[outgoing], np.arange(self.graph.nets + 1))
        pending = np.bincount(self.target, minlength=self.graph.nets)
        ready = np.flatnonzero(pending == 0)
        while len(ready):
            counts = first[ready + 1] - first[ready]
            offsets = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
            arcs = outgoing[np.repeat(first[ready], counts) + offsets]
            targets = self.target[arcs]
            np.maximum.at(self.arrival, targets, self.arrival[self.source[arcs]]
                          + self.weight[arcs])
            np.subtract.at(pending, targets, 1)
            ready = np.unique(targets[pending[targets] == 0])
        if pending.any():
            loop = self.graph.cells[self.cell[np.isin(self.target, np.flatnonzero(pending))][0]]
            raise ValueError(f"logic without a register ends in itself: {loop.name}")

    def path(self, net: int, levels: float, end: int) -> Path:
        """Return the longest path to input ``net`` of cell ``end``, which adds ``levels``."""
        graph, total = self.graph, float(self.arrival[net] + levels)
        units: list[tuple[str, float]] = [(graph.cells[end].unit, levels)]
        while True:
            arcs = self.incoming[self.first[net]:self.first[net + 1]]
            late = self.arrival[self.source[arcs]] + self.weight[arcs]
            if not len(arcs) or late.max() < self.arrival[net]:
                start = graph.cells[self.origin[net]]
                units.append((start.unit, float(self.arrival[net])))
                break
            arc = arcs[late.argmax()]
            units.append((graph.cells[self.cell[arc]].unit, float(self.weight[arc])))
            net = int(self.source[arc])
        joined = [(unit, sum(weight for _, weight in steps))
                  for unit, steps in groupby(reversed(units), lambda step: step[0])]
        return Path(total, start, graph.cells[end], joined)


def combinational(netlists: Mapping[str, Mapping[str, Any]], unit: str) -> dict[str, float]:
    """Return the outputs of a unit that depend on its inputs in the same cycle, and their levels.

    Ports are called as the unit's record calls them, ``sums.release``; those of an array have one
    name.
    """
    graph, ports = Graph(), {}
    for name, port in netlists[unit]["ports"].items():
        ports[name] = range(graph.nets, graph.nets + len(port["bits"]))
        graph.nets += len(port["bits"])
    graph.add(netlists, unit, "", {name: list(nets) for name, nets in ports.items()})
    graph.starts = [(net, 0, 0) for name, nets in ports.items() for net in nets
                    if netlists[unit]["ports"][name]["direction"] == "input"]
    arrival, levels = Longest(graph).arrival, {}
    for name, nets in ports.items():
        if netlists[unit]["ports"][name]["direction"] == "output":
            deepest = float(arrival[list(nets)].max())
            if np.isfinite(deepest):
                port = ".".join(part for part in name.split("__") if not part.isdigit())
                levels[port] = max(deepest, levels.get(port, 0))
    return levels


def bits_apart(point: Point) -> str:
    """Return a name without numbers, so that bits of one register are called the same."""
    return re.sub(r"\d+", "", point.name)


def depth(netlists: Mapping[str, Mapping[str, Any]], top: str, most: int = 10) -> Depth:
    """Find the deepest paths of an accelerator.

    Parameters
    ----------
    netlists : Mapping
        By unit, its module as Yosys writes it in JSON.
    top : str
        The unit that holds all others.
    most : int
        How many paths to describe.

    Raises
    ------
    ValueError
        A cell is of a kind whose levels are not known; a loop of logic.
    """
    graph = Graph()
    graph.add(netlists, top, "", {})
    longest = Longest(graph)
    late = sorted(((float(longest.arrival[net] + levels), net, levels, cell)
                   for net, levels, cell in graph.ends if np.isfinite(longest.arrival[net])),
                  reverse=True)
    units: dict[str, float] = {}
    for levels, _, _, cell in late:
        units.setdefault(graph.cells[cell].unit, levels)
    paths: dict[tuple[str, str], Path] = {}
    for _, net, levels, cell in late:
        if len(paths) == most:
            break
        path = longest.path(net, levels, cell)
        paths.setdefault((bits_apart(path.start), bits_apart(path.end)), path)
    return Depth(list(paths.values()), units,
                 dict(Counter(ceil(levels) for levels, *_ in late)),
                 {unit: found for unit in netlists if (found := combinational(netlists, unit))})
