"""What a mechanism leaves to do, on the simulated datapath: its cycles with all overlaps.

The program of dense inference keeps its order, placement, waits and units; only what a
:class:`golden.sparsity.work.Work` says is left out. Assumed is hardware that, for each product,

* sends ``events`` as zero-skipping does, through the same encoder, queues and drain;
* computes, of each row, as many columns as a row has ``made`` on average, packed into whole words;
* sends ``kept`` of the events of each row, evenly spread: static zeros are balanced over the
  columns, and the weight memory still has room for all weights;
* reads weights and their indices, what is remembered (written bytes take the same port's time),
  and what the predictor needs, as one longer or shorter load;
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

from golden.config import ModelConfig
from golden.policy import operator_of
from golden.shapes import tensor_shapes
from golden.sparsity.work import Frame, Work
from rtl.assembler import Program
from rtl.config import HwConfig
from rtl.program import Mode, Opcode
from sim.facts import Facts

Fields = Mapping[str, int]


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
    """Return the bytes that products move besides operands, results and weights."""
    return sum(work.index_bytes + work.state_bytes + work.predictor_bytes for work in works)


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
    beats = -(-fields["beats"] * works[owner].weight_bytes // found(weights, owner).bytes)
    more = -(-besides([works[owner]]) // (hw.bus_bytes * pieces))
    return load_of(fields, beats + more)


def rewritten(program: Program, frames: Sequence[Frame], weights: Mapping[str, Weights],
              operands: Sequence[dict]) -> Iterator[Fields]:
    """Return all descriptors as ``frames`` leave them; add to the ``operands`` of each frame."""
    hw, number, pieces = program.hw, 0, Counter(program.names)
    for name, fields in zip(program.names, program.descriptors, strict=True):
        if fields["opcode"] == Opcode.HALT:
            yield fields
            return
        works = frames[number].works
        if fields["opcode"] == Opcode.LOAD:
            yield loaded(name, fields, works, weights, hw, pieces[name] // len(frames))
        elif fields["opcode"] == Opcode.STORE:
            number += 1
            yield fields
        elif fields["opcode"] == Opcode.ATTENTION and f"{name}.scores" in works:
            made, masks = attention(fields, works[f"{name}.scores"], works[f"{name}.values"], hw)
            operands[number] |= {f"{name}.{part}": mask for part, mask in masks.items()}
            yield made
        elif name in works:
            made, sent = linear(fields, works[name], found(weights, name), hw)
            operands[number] |= {} if sent is None else {name: sent}
            yield made
        else:
            yield fields if "expert" in fields else {**fields, "rows": 0}


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
        By product, if the program is not of a network of :mod:`golden.config`.

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
    descriptors = tuple(rewritten(program, frames, known, operands))
    first, *later = (Facts(frame.routed, masks)
                     for frame, masks in zip(frames, operands, strict=True))
    return replace(program, descriptors=descriptors), replace(first, later=tuple(later))
