"""Spans as a trace that Perfetto and Chrome open: one track for each unit, one cycle one µs."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from deltamoe.sim.report.spans import Span, Unit


def perfetto(processes: Mapping[str, Iterable[Span]]) -> str:
    """Return the trace as JSON (Trace Event Format, complete events): a process for each name.

    A process without spans has a counter that stays 0, so that it is seen to be empty.
    """
    events: list[dict] = []
    for pid, (process, spans) in enumerate(processes.items(), 1):
        tracks: dict[Unit, int] = {}
        events.append({"name": "process_name", "ph": "M", "pid": pid, "args": {"name": process}})
        events.append({"name": "process_sort_index", "ph": "M", "pid": pid,
                       "args": {"sort_index": pid}})
        for span in spans:
            for unit in span.units:
                if unit not in tracks:
                    tracks[unit] = len(tracks) + 1
                    events.append({"name": "thread_name", "ph": "M", "pid": pid,
                                   "tid": tracks[unit], "args": {"name": str(unit)}})
                events.append({"name": str(span.item), "ph": "X", "pid": pid, "tid": tracks[unit],
                               "ts": span.start, "dur": span.end - span.start})
        if not tracks:
            events.append({"name": "spans", "ph": "C", "pid": pid, "ts": 0, "args": {"count": 0}})
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})


def differences(one: Iterable[Span], other: Iterable[Span], names: tuple[str, str]) -> list[Span]:
    """Return what only one of two runs did, on a track for each of them and unit; empty if equal.

    Spans of several units count for each of these.
    """
    first, second = (Counter((unit, *span[1:]) for span in spans for unit in span.units)
                     for spans in (one, other))
    return [Span((unit._replace(run=name),), item, start, end)
            for name, lone in zip(names, (first - second, second - first), strict=True)
            for unit, item, start, end in sorted(lone.elements(), key=lambda lone: lone[2])]
