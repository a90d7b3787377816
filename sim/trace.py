"""Spans as a trace that Perfetto and Chrome open: one track for each unit, one cycle one µs."""

import json
from collections.abc import Iterable

from sim.spans import Span


def perfetto(spans: Iterable[Span], process: str = "simulator") -> str:
    """Return the trace as JSON (Trace Event Format, complete events)."""
    tracks: dict[str, int] = {}
    events: list[dict] = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": process}}]
    for span in spans:
        for unit in span.units:
            if unit not in tracks:
                tracks[unit] = len(tracks) + 1
                events.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": tracks[unit],
                               "args": {"name": unit}})
            events.append({"name": span.item, "ph": "X", "pid": 1, "tid": tracks[unit],
                           "ts": span.start, "dur": span.end - span.start})
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})
