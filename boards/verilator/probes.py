"""What the harness watches inside the Verilog: wires added to the text, none to the circuit."""

import re
from dataclasses import dataclass

from amaranth.lib import data

from deltamoe.rtl.accelerator import memory_ports
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.retirement import ISSUED
from deltamoe.rtl.formats import TRANSFER, event

PUBLIC = "/*verilator public_flat_rd*/"


@dataclass(frozen=True)
class Probe:
    """``port`` of a unit, or ``field`` of it if it is a structure.

    ``path`` are the names of the instances that the unit is in, from the top, and its own.
    """

    name: str
    path: tuple[str, ...]
    port: str
    layout: data.Layout | None = None
    field: str = ""


def probes(hw: HwConfig) -> list[Probe]:
    """Return all probes: the program, loads, the drain, what is issued, and the groups' events."""
    places = [
        Probe("busy", ("run_control",), "program__running"),
        Probe("load", ("sequencer", "transfers"), "o__valid"),
        Probe("loaded", ("sequencer", "transfers"), "o__ready"),
        Probe("load_position", ("sequencer", "transfers"), "o__payload", TRANSFER, "position"),
        Probe("load_program", ("sequencer", "transfers"), "o__payload", TRANSFER, "program"),
        Probe("left", ("sequencer", "retire", "held"), "o__ready"),
        Probe("drain_position", ("sequencer", "retire", "held"), "o__payload", ISSUED, "position"),
        Probe("issue_position", ("sequencer", "issue"), "o__payload", ISSUED, "position"),
        Probe("drain", ("datapath", "drain"), "counts__drain_busy"),
        Probe("drained", ("datapath", "drain"), "sums__release"),
    ]
    for number in range(hw.groups):
        worker = ("datapath", "compute", f"worker_{number}")
        places += [
            Probe(f"accept_{number}", worker, "accept"),
            Probe(f"event_{number}", (*worker, "queue"), "o__valid"),
            Probe(f"taken_{number}", (*worker, "queue"), "o__ready"),
            Probe(f"last_{number}", (*worker, "queue"), "o__payload", event(hw), "last"),
        ]
    return places


def watched(text: str, hw: HwConfig, top: str = "deltamoe") -> tuple[str, str]:
    """Return the Verilog with a public wire for every probe, and a C++ header of macros.

    ``PROBE_name`` reads a probe of the model ``top``; ``PROBES`` lists the groups' four as rows,
    ``PORTS`` the memory ports, each ``PORT(NAME, NUMBER)``.

    Raises
    ------
    ValueError
        The Verilog has no such module or port.
    """
    lines = []
    for probe in probes(hw):
        text = insert(text, probe, top)
        path = "__DOT__".join([top, *probe.path, f"probe_{probe.name}"])
        lines.append(f"#define PROBE_{probe.name} (top->rootp->{path})")
    rows = ", ".join("{" + ", ".join(f"bool(PROBE_{kind}_{number})" for kind in (
        "accept", "event", "taken", "last")) + "}" for number in range(hw.groups))
    ports = ", ".join(f"PORT({name}, {number})" for number, name in enumerate(memory_ports(hw)))
    return text, "\n".join([*lines, f"#define PROBES {{{rows}}}", f"#define PORTS {ports}", ""])


def insert(text: str, probe: Probe, top: str) -> str:
    """Return the text with a public wire at the end of the probe's module."""
    unit = ".".join((top, *probe.path))
    begin = text.find(f"module \\{unit} (")
    end = text.find("endmodule", begin)
    ports = set(re.findall(rf"^  (?:in|out)put (?:\[\d+:0\] )?(\\?{probe.port}(?:\$\d+)?) ?;$",
                           text[begin:end], re.MULTILINE)) if begin >= 0 else set()
    if len(ports) != 1:
        raise ValueError(f"the Verilog has {len(ports)} ports {probe.port} in {unit}")
    name, width = f"{ports.pop()} ", ""  # the space ends an escaped name
    if probe.layout is not None:
        field = probe.layout[probe.field]
        high = field.offset + field.width - 1
        name, width = f"{name}[{high}:{field.offset}]", f"[{field.width - 1}:0] "
    wire = f"  wire {width}probe_{probe.name} {PUBLIC} = {name};\n"
    return text[:end] + wire + text[end:]
