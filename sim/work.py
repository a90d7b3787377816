"""What a mechanism leaves to do, on the simulated datapath: its cycles with all overlaps.

The program of dense inference keeps its order, placement, waits and units; only what a
:class:`deltamoe.golden.sparsity.work.Work` says is left out. Assumed is hardware that, for each
product,

* sends ``events`` as zero-skipping does, through the same encoder, queues and drain;
* computes, of each row, as many columns as a row has ``made`` on average, packed into whole words;
* sends ``kept`` of the events of each row, evenly spread: static zeros are balanced over the
  columns, and the weight memory still has room for all weights;
* reads weights, their indices and what the predictor needs as one longer or shorter load. Weights
  are loaded ahead, as the compiler places their loads, so a load is shorter only by what is known
  before the frame: static zeros, fewer bits. A column that no token of the frame needs is read;
* loads no expert that has no tokens, once the gate has said so; those that calibration always
  needed are loaded ahead of the gate, needed or not;
* keeps what is remembered on chip as far as the memories of the hardware for that hold it, product
  by product; if they do not hold all, room for two of the largest stays free for the rest, which a
  load reads before the product and a store writes behind it, both whole;
* runs the predictor row by row before the product on the same lanes, as a longer sum; what it
  decides costs no cycles beyond that;
* normalizes all rows that run, and takes the softmax over the scores that are made.

Work that leaves nothing out takes the cycles of dense inference exactly.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.quantization.shapes import tensor_shapes
from deltamoe.golden.sparsity.work import Frame, Work
from deltamoe.golden.temporal.policy import operator_of
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.linker import with_pieces
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Mode, Opcode, Target
from deltamoe.sim.facts import Facts

SUM_BYTES = 4
"""Bytes of a sum that is remembered; a reference has one."""

Fields = Mapping[str, int]
Named = tuple[str, Fields]


class Weights(NamedTuple):
    """The weights of a product: results of a row, and bytes."""

    columns: int
    bytes: int


def weights_of(config: ModelConfig) -> dict[str, Weights]:
    """Return the weights of every operator of a network, an expert's by that of all.

    A gate's 16-bit weights are two planes of 8 bits.
    """
    made = {}
    for name, (kind, shape) in tensor_shapes(config).items():
        if name.endswith(".weight"):
            planes = np.dtype(kind).itemsize
            made[name.removesuffix(".weight")] = Weights(
                planes * shape[-2], planes * prod(shape[-2:]))
    return made


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


def remembered(works: Mapping[str, Work], operators: Iterable[str]) -> dict[str, State]:
    """Return by operator what its products remember, if they do."""
    own, made = set(operators), Counter[tuple[str, str]]()
    for product, work in works.items():
        owner = product if product in own else operator_of(product)
        made[owner, "read"] += work.state_read_bytes
        made[owner, "written"] += work.state_written_bytes
    sums = {owner: State(made[owner, "read"], made[owner, "written"]) for owner, _ in made}
    return {owner: state for owner, state in sums.items() if state.size}


def moved(states: Mapping[str, State], hw: HwConfig) -> dict[str, State]:
    """Return what finds no room on chip, where the first operators' state stays."""
    room = hw.word * (SUM_BYTES * hw.state_words + hw.reference_words)
    if sum(state.size for state in states.values()) <= room:
        return {}
    room -= 2 * max(state.size for state in states.values())
    made = {}
    for name, state in states.items():
        if state.size <= room:
            room -= state.size
        else:
            made[name] = state
    return made


def width(work: Work) -> float:
    """Return how many columns a row of ``work`` has made, on average."""
    return work.columns if work.made is None else float(work.made.sum()) / max(1, work.rows)


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
    if work.events is None and work.kept == 1 and not more:
        return None
    events = np.ones((work.rows, work.depth), bool) if work.events is None else work.events
    return np.pad(thinned(events, work.kept) if work.kept < 1 else events,
                  ((0, 0), (0, more)), constant_values=True)


def whole_words(columns: float, hw: HwConfig) -> int:
    """Return ``columns``, at least one, as whole words of columns."""
    return max(1, int(-(-columns // hw.word))) * hw.word


def linear(fields: Fields, work: Work, weights: Weights, hw: HwConfig,
           ) -> tuple[Fields, np.ndarray | None]:
    """Return the fields of a piece of a layer, and what is sent of its operand."""
    share = width(work) / weights.columns
    columns = fields["columns"] if share == 1 else whole_words(fields["columns"] * share, hw)
    sent = operand(work, width(work))
    return {**fields, "rows": work.rows, "columns": columns,
            "depth": work.depth if sent is None else sent.shape[1],
            "mode": Mode.DENSE if sent is None else Mode.ZERO_SKIP, "zero_point": 0}, sent


def attention(fields: Fields, scores: Work, values: Work, hw: HwConfig,
              ) -> tuple[Fields, dict[str, np.ndarray]]:
    """Return the fields of an attention, and what is sent of both operands if not all."""
    heads, tokens = fields["heads"], scores.rows // fields["heads"]
    keys = width(scores)
    sent = {"scores": operand(scores, keys), "values": operand(values, values.columns)}
    fields = {**fields, "rows": tokens, "mode": Mode.DENSE}
    if keys == values.depth == tokens and all(mask is None for mask in sent.values()):
        return fields, {}
    fields["keys"] = min(whole_words(keys, hw), values.depth)
    masks = {part: np.ones((work.rows, work.depth), bool) if sent[part] is None else sent[part]
             for part, work in (("scores", scores), ("values", values))}
    return fields | {"mode": Mode.ZERO_SKIP}, {
        part: mask.reshape(heads, tokens, -1) for part, mask in masks.items()}


def found(weights: Mapping[str, Weights], product: str) -> Weights:
    """Return the weights of a product, by its own name or its operator's."""
    return weights[product] if product in weights else weights[operator_of(product)]


def load_of(fields: Fields, beats: int) -> Fields:
    """Return a load of so many ``beats``, or one that is skipped."""
    if beats:
        return {**fields, "beats": beats}
    kept = {name: value for name, value in fields.items() if name != "expert"}
    return kept | {"skip_if_empty": 1, "routed": 0}


def loaded(name: str, fields: Fields, works: Mapping[str, Work], weights: Mapping[str, Weights],
           hw: HwConfig, pieces: int) -> Fields:
    """Return the fields of a load of ``works``; an expert without tokens skips its own.

    A product's bytes are shared out among the ``pieces`` that its weights are loaded in.
    """
    owner, _, part = name.removesuffix(".load").rpartition(".")
    if part not in {"weights", "parameters"}:
        return fields
    if owner.endswith(".attention"):
        more = besides(work for product, work in works.items() if operator_of(product) == owner)
        return load_of(fields, fields["beats"] + -(-more // hw.bus_bytes))
    if owner not in works:
        return fields if "expert" in fields else load_of(fields, 0)
    if part == "parameters":
        return fields
    beats = -(-fields["beats"] * works[owner].loaded_bytes // found(weights, owner).bytes)
    more = -(-besides([works[owner]]) // (hw.bus_bytes * pieces))
    return load_of(fields, beats + more)


def unpaged(program: Program) -> list[Named]:
    """Return the descriptors without the loads of the program's own pieces, by name."""
    named, own = [], [0]
    for name, fields in zip(program.names, program.descriptors, strict=True):
        if fields["opcode"] == Opcode.LOAD:
            piece = fields["target"] == Target.PROGRAM
            own.append(own[-1] + (not piece))
            if piece:
                continue
        elif fields["opcode"] != Opcode.HALT:
            fields = {**fields, "wait_loads": own[fields["wait_loads"]]}
        named.append((name, fields))
    return named


def rewritten(named: Sequence[Named], hw: HwConfig, frames: Sequence[Frame],
              weights: Mapping[str, Weights], operands: Sequence[dict]) -> Iterator[Named]:
    """Return all descriptors as ``frames`` leave them; add to the ``operands`` of each frame."""
    number, pieces = 0, Counter(name for name, _ in named)
    for name, fields in named:
        if fields["opcode"] == Opcode.HALT:
            yield name, fields
            return
        works = frames[number].works
        if fields["opcode"] == Opcode.LOAD:
            yield name, loaded(name, fields, works, weights, hw, pieces[name] // len(frames))
        elif fields["opcode"] == Opcode.STORE:
            number += 1
            yield name, fields
        elif fields["opcode"] == Opcode.ATTENTION and f"{name}.scores" in works:
            made, masks = attention(fields, works[f"{name}.scores"], works[f"{name}.values"], hw)
            operands[number] |= {f"{name}.{part}": mask for part, mask in masks.items()}
            yield name, made
        elif name in works:
            made, sent = linear(fields, works[name], found(weights, name), hw)
            operands[number] |= {} if sent is None else {name: sent}
            yield name, made
        else:
            yield name, fields if "expert" in fields else {**fields, "rows": 0}


def remembering(named: Sequence[Named], hw: HwConfig, frames: Sequence[Frame]) -> list[Named]:
    """Insert the transfers of what is remembered, around the operators that remember it.

    A load may begin with that of the operator's weights, an expert's when its tokens are known.
    What waits for others waits for the same ones as before.
    """
    names = [name for name, _ in named]
    total, done = Counter(names), Counter[str]()
    states = [moved(remembered(frame.works, names), hw) for frame in frames]
    made: list[Named] = []
    number, computes, loads, begun, waits = 0, [0], [0], 0, {}
    count = Counter[bool]()

    def add(name: str, fields: Fields) -> None:
        count[fields["opcode"] == Opcode.LOAD] += 1
        made.append((name, fields))

    for name, fields in named:
        fields = {**fields, **{key: computes[fields[key]] for key in ("wait_computes", "routed")
                               if fields.get(key)}}
        if fields["opcode"] == Opcode.HALT:
            made.append((name, fields))
            continue
        if fields["opcode"] == Opcode.LOAD:
            owner = name.removesuffix(".load").rpartition(".")[0]
            waits.setdefault(owner, max(fields.get("wait_computes", 0), fields.get("routed", 0)))
            add(name, fields)
            loads.append(count[True])
            continue
        state, pieces = states[number].get(name, State(0, 0)), total[name] // len(frames)
        beats = [-(-size // hw.bus_bytes) for size in state]
        if done[name] % pieces == 0 and beats[0]:
            add(f"{name}.state.load", {
                "opcode": Opcode.LOAD, "target": Target.STATE, "address": 0, "beats": beats[0],
                "wait_computes": waits.get(name, 0)})
            begun = count[True]
        done[name] += 1
        add(name, {**fields, "wait_loads": max(begun, loads[fields["wait_loads"]])})
        computes.append(count[False])
        if fields["opcode"] == Opcode.STORE:
            number, waits = number + 1, {}
        if done[name] % pieces == 0 and beats[1]:
            add(f"{name}.state", {
                "opcode": Opcode.STORE, "target": Target.STATE, "rows": 1, "address": 0,
                "beats": beats[1], "wait_loads": count[True]})
    return made


def check(frame: Frame) -> None:
    """Raise ValueError if an expert has other rows than tokens."""
    for product, work in frame.works.items():
        block, found, expert = product.rpartition(".")[0].partition(".experts.")
        if found:
            tokens = frame.routed.get(int(block.split(".")[1]), [])
            if list(tokens[int(expert):][:1]) != [work.rows]:
                raise ValueError(f"{product} has {work.rows} rows, the tokens of its layer's "
                                 f"experts are {list(map(int, tokens))}")


def worked(program: Program, frames: Sequence[Frame],
           weights: Mapping[str, Weights] | None = None) -> tuple[Program, Facts]:
    """Return the program and the facts of inferences that do only the work of ``frames``.

    Parameters
    ----------
    program : Program
        Of dense or zero-skipping inference, one image for each of ``frames``.
    frames : sequence of Frame
        What is left of each inference, with its routing.
    weights : Mapping of str to Weights, optional
        By product, if the program is not of a network of :mod:`deltamoe.golden.config`.

    Raises
    ------
    ValueError
        There are not as many frames as inferences, or an expert has other rows than tokens.
    """
    if len(frames) != len(program.images):
        raise ValueError(f"{len(frames)} frames of work for a program of {len(program.images)}")
    for frame in frames if weights is None else ():
        check(frame)
    operands: list[dict[str, np.ndarray]] = [{} for _ in frames]
    known = weights_of(program.config) if weights is None else weights
    hw = program.hw
    left = list(rewritten(unpaged(program), hw, frames, known, operands))
    named = with_pieces(remembering(left, hw, frames), hw)
    first, *later = (Facts(frame.routed, masks)
                     for frame, masks in zip(frames, operands, strict=True))
    names, descriptors = zip(*named, strict=True)
    return (replace(program, names=names, descriptors=descriptors),
            replace(first, later=tuple(later)))
