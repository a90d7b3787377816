"""The second half of a block: dense layers or experts, behind a token gate if the plan has one."""

from dataclasses import replace

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.numerics import SHIFTS
from deltamoe.golden.operators import Operator, Part, feed_forward
from deltamoe.rtl.compiler.assembler import After
from deltamoe.rtl.compiler.layers import MODES, Layers
from deltamoe.rtl.compiler.layout import planes
from deltamoe.rtl.compiler.tiles import expert_turns, in_parts, mlp_row, mlp_tiles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.label import Role
from deltamoe.rtl.program import Dest, Linear, Mode, Source, Target


def probe(c: Layers, operator: Operator, norm: Linear, *, routes: bool) -> Linear:
    """Find the tokens that changed; return a layer of the block's operand.

    With ``routes`` they go to the first queue, the others to its silent one.
    """
    config, hw = c.config, c.hw
    words, choice = config.embed_dim // hw.word, c.keeping.choices[operator]
    if norm.rows > hw.queue_depth:
        raise ValueError(f"{operator}: num_tokens={norm.rows} behind a token gate exceeds "
                         f"{hw.name}'s maximum {hw.queue_depth}")
    c.gated(operator, Target.REFERENCE)
    base = c.base(operator, Target.REFERENCE, config.num_tokens * words)
    c.compute(operator, replace(
        norm, mode=Mode.DENSE, dest=Dest.CHANGED, depth=config.embed_dim, columns=hw.word,
        reference_base=base, theta=choice.theta, fresh=c.fresh, routes=routes),
        Role.PROBE)
    return Linear(rows=norm.rows, source=Source.REFERENCE, source_base=base,
                  source_stride=norm.source_stride, operand_signed=True)


def mlp(c: Layers, layer: int, norm: Linear, residual: Linear) -> After:
    """Two dense layers with the activation table between them; return what to wait for.

    If the hidden values of all tokens do not fit, tiles of tokens take turns, and the weights are
    loaded again for each.
    """
    hidden, (fc1, fc2) = mlp_row(c.config, c.hw), feed_forward(c.config, layer)
    first, gated = norm, bool(c.keeping.gate(fc1))
    tokens = mlp_tiles(c.config, c.hw)
    if gated and in_parts(fc2, c.config, c.hw):
        raise ValueError(f"{fc1}: {c.hw.name} computes it in parts, and executes only dense and "
                         "zero-skip of these, not token-gate")
    if in_parts(fc2, c.config, c.hw):
        return mlp_in_tiles(c, layer, norm, residual, tokens)
    if gated:
        first = probe(c, fc1, norm, routes=True)
        first = c.after(by_row=False).on(first)
        c.gate = c.computes
    bank, zero_point = c.table(f"{fc1.block}.gelu")
    c.layer(fc1, replace(first, dest=Dest.HIDDEN, dest_stride=hidden, bank=bank, gather=gated))
    c.gated(fc2, Target.STATE)
    c.layer(fc2, c.after(by_row=True).on(replace(
        residual, rows=norm.rows, source=Source.ACT, source_stride=hidden, zero_point=zero_point,
        scatter=gated)), slots=int(gated))
    c.tables.use(bank, 1, c.computes - 1)
    c.close()
    return c.after(by_row=not gated)


def mlp_in_tiles(c: Layers, layer: int, norm: Linear, residual: Linear,
                 tokens: list[range]) -> After:
    """Place both dense layers for one tile of tokens after the other; return what to wait for."""
    hidden, (fc1, fc2) = mlp_row(c.config, c.hw), feed_forward(c.config, layer)
    bank, zero_point = c.table(f"{fc1.block}.gelu")
    for tile in tokens:
        rows, row = len(tile), tile.start if len(tokens) > 1 else None
        c.layer(fc1, replace(
            norm, rows=rows, norm_source=norm.norm_source + tile.start * norm.source_stride,
            by_row=norm.by_row and not tile.start, dest=Dest.HIDDEN, dest_stride=hidden,
            bank=bank), row=row)
        c.layer(fc2, c.after(by_row=True).on(replace(
            residual, rows=rows, dest_base=residual.dest_base + tile.start * residual.dest_stride,
            source=Source.ACT, source_stride=hidden, zero_point=zero_point)), row=row,
            scratch=rows * hidden)
    c.tables.use(bank, 1, c.computes - 1)
    return c.after(by_row=True)


def experts(c: Layers, layer: int, norm: Linear, residual: Linear) -> After:
    """The task's gate, then expert by expert over its tokens, in :func:`in_turn`.

    An expert's second layer follows the next expert's first, whose results do not hold it up, if
    the hidden values of both fit.
    The weights of experts that calibration always needed, or of all if every token has all, are
    loaded ahead of the gate; where few
    tokens may have changed, only of the most used ones, twice as many as a token has: more would
    be read in vain too often. Returns what to wait for.
    """
    gate, (fc1, fc2) = Operator(Part.GATE, layer, task=c.task), feed_forward(c.config, layer)
    gated = bool(c.keeping.gate(gate))
    if gated:
        operand = probe(c, gate, norm, routes=False)
        route(c, gate, c.after(by_row=False).on(operand), gated=True)
    else:
        operand = Linear(rows=norm.rows, source=norm.source, source_stride=norm.source_stride,
                         operand_signed=True)
        route(c, gate, norm, gated=False)
    c.open(layer)
    c.gated(fc2, Target.STATE)
    bank, zero_point = c.table(f"{gate.block}.gelu")
    total, least = c.tensor(f"{gate}.usage")
    order = in_turn(total, c.config, c.hw)
    likely = order if c.fresh or not gated else order[: 2 * c.config.top_k]
    every = c.config.top_k == c.config.num_experts and not gated
    c.certain = frozenset(expert for expert in likely if every or least[expert])
    ends: list[int] = []
    behind = expert_turns(c.config, c.hw) - 1
    for turn in range(len(order) + behind):
        if turn < len(order):
            expert_in(c, fc1, order[turn], turn, replace(operand, bank=bank))
            ends.append(c.computes)
        out = turn - behind
        if out >= 0:
            expert_out(c, fc2, order[out], out, After(ends[out]).on(replace(
                residual, rows=norm.rows, zero_point=zero_point)),
                slots=c.config.top_k if gated else 0)
    c.tables.use(bank, 1, c.computes - 1)
    c.close()
    return c.after(by_row=False)


def in_turn(total: np.ndarray, config: ModelConfig, hw: HwConfig) -> list[int]:
    """Return the order of the experts, of whom calibration saw ``total`` tokens: most used first.

    If the weights of one fit on chip, but not those of two, the least used of those that were used
    follow the most used in turn: they compute for a shorter time than their weights are loaded, and
    the others for a longer one.
    """
    order = np.argsort(-total.astype(np.int64), kind="stable").tolist()
    expert = 2 * config.embed_dim * config.expert_dim
    if not hw.weight_bytes < 2 * expert <= 2 * hw.weight_bytes:
        return order
    used = int((total > 0).sum())
    turns = [place for pair in zip(range(used), reversed(range(used)), strict=True)
             for place in pair][:used]
    return [order[place] for place in (*turns, *range(used, len(order)))]


def route(c: Layers, gate: Operator, layer: Linear, *, gated: bool) -> None:
    """Place the gate: both planes of its weights, side by side."""
    config, choice = c.config, c.keeping.choices[gate]
    weight = planes(c.tensor(f"{gate}.weight"))
    layer = c.kept(gate, gate, choice, layer, len(weight), 0)
    if c.keeping.remembers(gate.layer):
        layer = replace(layer, remembers=True, fresh=c.fresh,
                        remembered_base=c.keeping.routes.take(gate.block, config.num_tokens))
    c.linear(gate, replace(
        layer, mode=MODES[choice.policy], dest=Dest.GATE, num_experts=config.num_experts,
        top_k=config.top_k, gated=gated, multiplier=int(c.tensor(f"{gate}.multiplier")),
        shift=SHIFTS.index(int(c.tensor(f"{gate}.shift")))), weight)
    c.gate = c.computed


def hidden(c: Layers, turn: int) -> tuple[int, int]:
    """Return first word and stride of an expert's hidden values, in turns with the next's."""
    stride = c.config.expert_dim // c.hw.word
    return turn % expert_turns(c.config, c.hw) * c.config.num_tokens * stride, stride


def expert_in(c: Layers, fc1: Operator, expert: int, turn: int, operand: Linear) -> None:
    """Place an expert's first layer, for the tokens in its queue."""
    base, stride = hidden(c, turn)
    c.layer(fc1, replace(
        operand, gather=True, dest=Dest.HIDDEN, dest_base=base, dest_stride=stride,
        wait_computes=c.gate), expert=expert)


def expert_out(c: Layers, fc2: Operator, expert: int, turn: int, residual: Linear, *,
               slots: int) -> None:
    """Place an expert's second layer, back to the tokens in its queue."""
    base, stride = hidden(c, turn)
    c.layer(fc2, replace(
        residual, dest=Dest.COMBINE, source=Source.ACT, source_base=base, source_stride=stride,
        scatter=True), expert=expert, slots=slots)
