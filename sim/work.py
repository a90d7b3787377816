"""What a mechanism leaves to do, on the simulated datapath: its cycles with all overlaps.

The program of dense inference keeps its order, placement, waits and units; only what a
:class:`deltamoe.golden.sparsity.work.Work` says is left out, by hardware of which
:data:`ASSUMPTIONS` are made.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.operators import Part, products
from deltamoe.golden.quantization.shapes import tensor_formats
from deltamoe.golden.sparsity.names import ATTENTION, Product
from deltamoe.golden.sparsity.work import Frame, Work
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.linker import Labeled, with_pieces
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.label import Label, Role, Section, Subject, What
from deltamoe.rtl.program import (
    Attention,
    Compute,
    Descriptor,
    Halt,
    Linear,
    Load,
    Mode,
    Store,
    Target,
)
from deltamoe.sim.facts import Facts
from deltamoe.sim.units.attention_items import PartialAttention

ASSUMPTIONS = (
    "sends events as zero-skipping does, through the same encoder, queues and drain",
    ("computes, of each row, as many columns as a row has made on average, packed into whole "
     "words"),
    ("sends kept of the events of each row, evenly spread: static zeros are balanced over the "
     "columns, and the weight memory still has room for all weights"),
    ("reads weights, their indices and what the predictor needs as one longer or shorter load. "
     "Weights are loaded ahead, as the compiler places their loads, so a load is shorter only "
     "by what is known before the frame: static zeros, fewer bits. A column that no token of "
     "the frame needs is read"),
    ("loads no expert that has no tokens, once the gate has said so; those that calibration "
     "always needed are loaded ahead of the gate, needed or not"),
    ("keeps what is remembered on chip as far as the memories of the hardware for that hold "
     "it, product by product; if they do not hold all, room for two of the largest stays free "
     "for the rest, which a load reads before the product and a store writes behind it, both "
     "whole"),
    ("runs the predictor row by row before the product on the same lanes, as a longer sum; "
     "what it decides costs no cycles beyond that"),
    "normalizes all rows that run, and takes the softmax over the scores that are made",
)
"""What hardware is assumed to do for each product of a mechanism that is only modelled."""

EXACT = "Work that leaves nothing out takes the cycles of dense inference exactly."
"""What holds of every work, by whatever mechanism."""

SUM_BYTES = 4
"""Bytes of a sum that is remembered; a reference has one."""



class Weights(NamedTuple):
    """The weights of a product: results of a row, and bytes."""

    columns: int
    bytes: int


def weights_of(config: ModelConfig) -> dict[Product, Weights]:
    """Return the weights of every product of a network that has some.

    A gate's 16-bit weights are two planes of 8 bits.
    """
    formats, weights = tensor_formats(config), {}
    for product in products(config):
        if product.part not in ATTENTION:
            stored = formats[f"{product.whole}.weight"]
            planes, shape = np.dtype(stored.dtype).itemsize, stored.shape[-2:]
            weights[product] = Weights(planes * shape[0], planes * prod(shape))
    return weights


def besides(works: Iterable[Work]) -> int:
    """Return the bytes that products read with their weights."""
    return sum(work.index_bytes + work.predictor_bytes for work in works)


class State(NamedTuple):
    """Bytes that an operator reads and writes for what it remembers."""

    read: int
    written: int

    @property
    def size(self) -> int:
        """Bytes that it keeps."""
        return max(self)


def remembered(works: Mapping[Product, Work], computed: Container[Subject],
               ) -> dict[Product, State]:
    """Return what products remember, if they do, by what is ``computed``: they, or their whole."""
    read, written = Counter[Product](), Counter[Product]()
    for product, work in works.items():
        owner = product if product in computed else product.whole
        read[owner] += work.state_read_bytes
        written[owner] += work.state_written_bytes
    sums = {owner: State(read[owner], written[owner]) for owner in read}
    return {owner: state for owner, state in sums.items() if state.size}


def moved(states: Mapping[Product, State], hw: HwConfig) -> dict[Product, State]:
    """Return what finds no room on chip, where the first operators' state stays."""
    room = hw.word * (SUM_BYTES * hw.state_words + hw.reference_words)
    if sum(state.size for state in states.values()) <= room:
        return {}
    room -= 2 * max(state.size for state in states.values())
    streamed = {}
    for owner, state in states.items():
        if state.size <= room:
            room -= state.size
        else:
            streamed[owner] = state
    return streamed


def width(work: Work) -> float:
    """Return how many columns a row of ``work`` has made, on average."""
    return work.columns if work.computed is None else float(work.computed.sum()) / max(1, work.rows)


def thinned(events: np.ndarray, kept: float) -> np.ndarray:
    """Return ``kept`` of each row's events, evenly spread."""
    count = events.cumsum(1)
    return events & (np.floor(count * kept) > np.floor((count - 1) * kept))


def operand(work: Work, columns: float) -> np.ndarray | None:
    """Return the elements that are sent (R, K and those of the predictor), or None if all are.

    ``columns`` are computed of each row.
    """
    more = 0 if not work.rows or not columns else int(
        -(-work.predictor_macs // (work.rows * columns)))
    if work.events is None and work.weight_density == 1 and not more:
        return None
    events = np.ones((work.rows, work.depth), bool) if work.events is None else work.events
    return np.pad(thinned(events, work.weight_density) if work.weight_density < 1 else events,
                  ((0, 0), (0, more)), constant_values=True)


def whole_words(columns: float, hw: HwConfig) -> int:
    """Return ``columns``, at least one, as whole words of columns."""
    return max(1, int(-(-columns // hw.word))) * hw.word


class Extents(NamedTuple):
    """Rows of a layer's operand, and elements of its sums, over all of its parts."""

    rows: int
    depth: int


def extents(labeled: Iterable[Labeled]) -> dict[Subject, Extents]:
    """Return the extents of the layers that come in parts: tiles of rows, or parts of sums."""
    found: dict[Subject, Extents] = {}
    for label, layer in labeled:
        if label.section is not None and isinstance(layer, Linear):
            before = found.get(label.subject, Extents(0, 0))
            found[label.subject] = Extents(max(before.rows, label.section.row + layer.rows),
                                           max(before.depth, label.section.depth + layer.depth))
    return found


def linear(layer: Linear, work: Work, weights: Weights, hw: HwConfig, section: Section | None,
           whole: Extents) -> tuple[Linear, np.ndarray | None, Section | None]:
    """Return what is left of a piece of a layer, what is sent of its operand, and where it begins.

    Of a layer in parts, each has its share of the rows and elements that are left of the ``whole``.
    """
    share = width(work) / weights.columns
    columns = layer.columns if share == 1 else whole_words(layer.columns * share, hw)
    sent = operand(work, width(work))
    rows, depth = work.rows, work.depth if sent is None else sent.shape[1]
    if section is not None:
        first, row_end = (place * rows // whole.rows
                          for place in (section.row, section.row + layer.rows))
        element, end = (place * depth // whole.depth
                        for place in (section.depth, section.depth + layer.depth))
        rows, depth, section = row_end - first, end - element, Section(first, element)
    return replace(layer, rows=rows, columns=columns, depth=depth,
                   mode=Mode.DENSE if sent is None else Mode.ZERO_SKIP, zero_point=0), sent, section


def attention(whole: Attention, scores: Work, values: Work, hw: HwConfig,
              ) -> tuple[Attention, dict[Part, np.ndarray]]:
    """Return what is left of an attention, and what is sent of both operands if not all."""
    heads, tokens = whole.heads, scores.rows // whole.heads
    keys = width(scores)
    sent = {Part.SCORES: operand(scores, keys), Part.VALUES: operand(values, values.columns)}
    whole = replace(whole, rows=tokens, mode=Mode.DENSE, last_key=(
        whole.last_key and keys == values.depth == tokens == whole.rows))
    if keys == values.depth == tokens and all(mask is None for mask in sent.values()):
        return whole, {}
    part = PartialAttention(**vars(replace(whole, mode=Mode.ZERO_SKIP)),
                            keys=min(whole_words(keys, hw), values.depth))
    masks = {each: np.ones((work.rows, work.depth), bool) if sent[each] is None else sent[each]
             for each, work in zip(ATTENTION, (scores, values), strict=True)}
    return part, {each: mask.reshape(heads, tokens, -1) for each, mask in masks.items()}


def load_of(load: Load, beats: int) -> Load:
    """Return a load of so many ``beats``; one of none is skipped."""
    if beats:
        return replace(load, beats=beats)
    return replace(load, beats=0, skip_if_empty=True, routed=0)


def loaded(label: Label, load: Load, works: Mapping[Product, Work],
           weights: Mapping[Product, Weights], hw: HwConfig, pieces: int) -> Load:
    """Return what is left of a load for ``works``; an expert without tokens skips its own.

    A product's bytes are shared out among the ``pieces`` that its weights are loaded in.
    """
    product, work = label.subject, works.get(label.subject)
    if label.what not in (What.WEIGHTS, What.PARAMETERS):
        return load
    if label.operator and label.operator.part == Part.ATTENTION:
        both = (works[each] for each in map(label.operator.beside, ATTENTION) if each in works)
        return load_of(load, load.beats + -(-besides(both) // hw.bus_bytes))
    if work is None:
        return load if load.skip_if_empty else load_of(load, 0)
    if label.what == What.PARAMETERS:
        return load
    beats = -(-load.beats * work.loaded_bytes // weights[product].bytes)
    more = -(-besides([work]) // (hw.bus_bytes * pieces))
    return load_of(load, beats + more)


def unpaged(program: Program) -> list[Labeled]:
    """Return the descriptors without the loads of the program's own pieces."""
    labeled, own = [], [0]
    for label, descriptor in zip(program.labels, program.descriptors, strict=True):
        if isinstance(descriptor, Load):
            piece = descriptor.target == Target.PROGRAM
            own.append(own[-1] + (not piece))
            if piece:
                continue
        elif isinstance(descriptor, Compute):
            descriptor = replace(descriptor, wait_loads=own[descriptor.wait_loads])
        labeled.append((label, descriptor))
    return labeled


def rewritten(labeled: Sequence[Labeled], hw: HwConfig, frames: Sequence[Frame],
              weights: Mapping[Product, Weights], operands: Sequence[dict]) -> Iterator[Labeled]:
    """Return all descriptors as ``frames`` leave them; add to the ``operands`` of each frame."""
    number, pieces = 0, Counter(label for label, _ in labeled)
    parts, whole = extents(labeled), Extents(0, 0)
    for label, descriptor in labeled:
        if isinstance(descriptor, Halt):
            yield label, descriptor
            return
        works, product = frames[number].works, label.subject
        if isinstance(descriptor, Load):
            descriptor = loaded(label, descriptor, works, weights, hw,
                                pieces[label] // len(frames))
        elif isinstance(descriptor, Store):
            number += 1
        elif isinstance(descriptor, Attention) and product.beside(Part.SCORES) in works:
            descriptor, masks = attention(
                descriptor, *(works[product.beside(part)] for part in ATTENTION), hw)
            operands[number] |= {product.beside(part): mask for part, mask in masks.items()}
        elif isinstance(descriptor, Linear) and product in works:
            descriptor, sent, section = linear(descriptor, works[product], weights[product], hw,
                                               label.section, parts.get(product, whole))
            label = replace(label, section=section)
            operands[number] |= {} if sent is None else {product: sent}
        elif isinstance(descriptor, Attention) or not descriptor.queued:
            descriptor = replace(descriptor, rows=0)
        yield label, descriptor


def remembering(labeled: Sequence[Labeled], hw: HwConfig, frames: Sequence[Frame],
                ) -> list[Labeled]:
    """Insert the transfers of what is remembered, around the operators that remember it.

    A load may begin with that of the operator's weights, an expert's when its tokens are known.
    What waits for others waits for the same ones as before.
    """
    total, done = Counter(label for label, _ in labeled), Counter[Label]()
    computed = {label.subject for label, _ in labeled if label.role is None}
    states = [moved(remembered(frame.works, computed), hw) for frame in frames]
    surrounded: list[Labeled] = []
    number, computes, loads, begun = 0, [0], [0], 0
    waits: dict[Subject, int] = {}
    count = Counter[bool]()

    def add(label: Label, descriptor: Descriptor) -> None:
        count[isinstance(descriptor, Load)] += 1
        surrounded.append((label, descriptor))

    for label, descriptor in labeled:
        if isinstance(descriptor, Halt):
            surrounded.append((label, descriptor))
            continue
        subject = label.subject
        descriptor = replace(descriptor, wait_computes=computes[descriptor.wait_computes])
        if isinstance(descriptor, Load):
            descriptor = replace(descriptor, routed=computes[descriptor.routed])
            waits.setdefault(subject, max(descriptor.wait_computes, descriptor.routed))
            add(label, descriptor)
            loads.append(count[True])
            continue
        state, pieces = states[number].get(subject, State(0, 0)), total[label] // len(frames)
        beats = [-(-size // hw.bus_bytes) for size in state]
        if done[label] % pieces == 0 and beats[0]:
            add(Label(subject, Role.LOAD, What.STATE), Load(
                target=Target.STATE, beats=beats[0], wait_computes=waits.get(subject, 0)))
            begun = count[True]
        done[label] += 1
        add(label, replace(descriptor, wait_loads=max(begun, loads[descriptor.wait_loads])))
        computes.append(count[False])
        if isinstance(descriptor, Store):
            number, waits = number + 1, {}
        if done[label] % pieces == 0 and beats[1]:
            add(Label(subject, what=What.STATE), Store(target=Target.STATE, beats=beats[1],
                                                       wait_loads=count[True]))
    return surrounded


def check_experts(frame: Frame) -> None:
    """Raise ValueError if an expert has other rows than tokens."""
    for product, work in frame.works.items():
        if product.expert is not None:
            tokens = frame.routed.get(product.layer, [])
            if list(tokens[product.expert:][:1]) != [work.rows]:
                raise ValueError(f"{product} has {work.rows} rows, the tokens of its layer's "
                                 f"experts are {list(map(int, tokens))}")


def worked(program: Program, frames: Sequence[Frame],
           weights: Mapping[Product, Weights] | None = None) -> tuple[Program, Facts]:
    """Return the program and the facts of inferences that do only the work of ``frames``.

    Parameters
    ----------
    program : Program
        Of dense or zero-skipping inference, one image for each of ``frames``.
    frames : sequence of Frame
        What is left of each inference, with its routing.
    weights : Mapping of Product to Weights, optional
        By product, if the program is not a ``NetworkProgram``.

    Raises
    ------
    ValueError
        There are not as many frames as inferences, or an expert has other rows than tokens.
    """
    if len(frames) != len(program.images):
        raise ValueError(f"{len(frames)} frames of work for a program of {len(program.images)}")
    for frame in frames if weights is None else ():
        check_experts(frame)
    operands: list[dict[Product, np.ndarray]] = [{} for _ in frames]
    known = weights_of(program.config) if weights is None else weights
    hw = program.hw
    remaining = list(rewritten(unpaged(program), hw, frames, known, operands))
    labeled = with_pieces(remembering(remaining, hw, frames), hw)
    first, *later = (Facts(frame.routed, masks)
                     for frame, masks in zip(frames, operands, strict=True))
    labels, descriptors = zip(*labeled, strict=True)
    return (replace(program, labels=labels, descriptors=descriptors),
            replace(first, later=tuple(later)))
