"""The second half of a block: dense layers or experts, behind a token gate if the plan has one."""

import numpy as np

from deltamoe.golden.numerics import PLANE, SHIFTS
from deltamoe.golden.operators import Operator, Part, feed_forward
from deltamoe.rtl.compiler.layers import MODES, Layers
from deltamoe.rtl.program import Dest, Mode, Opcode, Source, Target

Fields = dict[str, int]


def after(c: Layers, *, by_row: bool) -> Fields:
    """Fields of an operator that needs the last one placed."""
    return {"wait_computes": c.made, "by_row": int(by_row and c.whole)}


def probe(c: Layers, operator: Operator, norm: Fields, *, routes: bool) -> Fields:
    """Find the tokens that changed; return where the block's operand is.

    With ``routes`` they go to the first queue, the others to its silent one.
    """
    config, hw = c.config, c.hw
    words, choice = config.embed_dim // hw.word, c.keeping.choices[operator]
    c.gated(operator, Target.REFERENCE)
    base = c.base(operator, Target.REFERENCE, config.num_tokens * words)
    c.compute(f"{operator}.probe", {
        "opcode": Opcode.LINEAR, "mode": Mode.DENSE, "dest": Dest.CHANGED,
        "rows": config.num_tokens, "depth": config.embed_dim, "columns": hw.word,
        "operand_signed": 1, "source": Source.NORMED, "source_stride": words,
        "reference_base": base, "theta": choice.theta, "fresh": int(c.fresh),
        "stores": int(routes), **norm})
    return {"source": Source.REFERENCE, "source_base": base, "source_stride": words}


def mlp(c: Layers, layer: int, norm: Fields, residual: Fields) -> Fields:
    """Two dense layers with the activation table between them; return what to wait for."""
    config, hw = c.config, c.hw
    tokens, words = config.num_tokens, config.embed_dim // hw.word
    hidden = config.hidden_dim // hw.word
    fc1, fc2 = feed_forward(config, layer)
    gated = bool(c.keeping.gate(fc1))
    source, routed = {"source": Source.NORMED, "source_stride": words}, {}
    if gated:
        source = probe(c, fc1, norm, routes=True)
        norm = after(c, by_row=False)
        routed = {"queue": 0}
        c.gate = c.computes
    bank, zero_point = c.table(f"{fc1.block}.gelu")
    c.layer(fc1, rows=tokens, **source, **norm, **routed, dest=Dest.HIDDEN,
            dest_stride=hidden, bank=bank, gather=int(gated))
    c.gated(fc2, Target.STATE)
    c.layer(fc2, rows=tokens, source=Source.ACT, source_stride=hidden, **routed,
            operand_signed=0, zero_point=zero_point, scatter=int(gated), slots=int(gated),
            **residual, **after(c, by_row=True))
    c.tables.use(bank, 1, c.computes - 1)
    c.close()
    return after(c, by_row=not gated)


def experts(c: Layers, layer: int, norm: Fields, residual: Fields) -> Fields:
    """The task's gate, then expert by expert over its tokens, the most used first.

    An expert's second layer follows the next expert's first, whose results do not hold it up.
    The weights of experts that calibration always needed, or of all if every token has all, are
    loaded ahead of the gate; where few
    tokens may have changed, only of the most used ones, twice as many as a token has: more would
    be read in vain too often. Returns what to wait for.
    """
    gate, (fc1, fc2) = Operator(Part.GATE, layer, task=c.task), feed_forward(c.config, layer)
    gated = bool(c.keeping.gate(gate))
    source = {"source": Source.NORMED, "source_stride": c.config.embed_dim // c.hw.word}
    if gated:
        source = probe(c, gate, norm, routes=False)
        norm = after(c, by_row=False)
    route(c, gate, source | norm, gated=gated)
    c.open(layer)
    c.gated(fc2, Target.STATE)
    bank, zero_point = c.table(f"{gate.block}.gelu")
    total, least = c.tensor(f"{gate}.usage")
    order = np.argsort(-total.astype(np.int64), kind="stable").tolist()
    likely = order if c.fresh or not gated else order[: 2 * c.config.top_k]
    every = c.config.top_k == c.config.num_experts and not gated
    c.certain = frozenset(expert for expert in likely if every or least[expert])
    made: list[int] = []
    for turn in range(len(order) + 1):
        if turn < len(order):
            expert_in(c, fc1, order[turn], turn, source | {"bank": bank})
            made.append(c.computes)
        if turn:
            expert_out(c, fc2, order[turn - 1], turn - 1, residual | {
                "zero_point": zero_point, "wait_computes": made[turn - 1],
                "slots": c.config.top_k if gated else 0})
    c.tables.use(bank, 1, c.computes - 1)
    c.close()
    return after(c, by_row=False)


def route(c: Layers, gate: Operator, fields: Fields, *, gated: bool) -> None:
    """Place the gate: both planes of its weights, side by side."""
    config, choice = c.config, c.keeping.choices[gate]
    weight = c.tensor(f"{gate}.weight").astype(np.int64)
    half = 1 << (PLANE - 1)
    low = (weight + half) % (2 * half) - half
    planes = np.stack([(weight - low) >> PLANE, low], axis=1).reshape(-1, config.embed_dim)
    fields = {"rows": config.num_tokens, **fields}
    fields |= c.kept(gate, gate, choice, fields, len(planes), 0)
    if c.keeping.remembers(gate.layer):
        fields |= {"remembers": 1, "fresh": int(c.fresh),
                   "places": c.keeping.routes.take(gate.block, config.num_tokens)}
    c.linear(str(gate), planes, mode=MODES[choice.policy], dest=Dest.GATE,
             num_experts=config.num_experts, top_k=config.top_k, gated=int(gated),
             multiplier=int(c.tensor(f"{gate}.multiplier")),
             shift=SHIFTS.index(int(c.tensor(f"{gate}.shift"))), **fields)
    c.gate = c.made


def hidden(c: Layers, turn: int) -> tuple[int, int]:
    """Return first word and stride of an expert's hidden values, in turns with the next's."""
    stride = c.config.expert_dim // c.hw.word
    return turn % 2 * c.config.num_tokens * stride, stride


def expert_in(c: Layers, fc1: Operator, expert: int, turn: int, fields: Fields) -> None:
    """Place an expert's first layer, for the tokens in its queue."""
    base, stride = hidden(c, turn)
    c.layer(fc1, expert=expert, rows=c.config.num_tokens, gather=1,
            dest=Dest.HIDDEN, dest_base=base, dest_stride=stride, wait_computes=c.gate, **fields)


def expert_out(c: Layers, fc2: Operator, expert: int, turn: int, fields: Fields) -> None:
    """Place an expert's second layer, back to the tokens in its queue."""
    base, stride = hidden(c, turn)
    c.layer(fc2, expert=expert,
            rows=c.config.num_tokens, source=Source.ACT, source_base=base, source_stride=stride,
            scatter=1, operand_signed=0, **fields | {"dest": Dest.COMBINE})
