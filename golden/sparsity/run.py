"""Apply a rule to a record: inside the integer network if there is one, else operand by operand."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from golden.integer import Trace
from golden.linear import linear
from golden.report import sqnr
from golden.sparsity.names import expert, layer, part
from golden.sparsity.record import Moment, Record, Recorder, heads
from golden.sparsity.rule import Rule
from golden.sparsity.work import Frame, Work


def frames(record: Record, rule: Rule) -> list[Frame]:
    """Return what each frame of a record still does under a rule.

    Raises
    ------
    ValueError
        The rule decides by something that the record does not hold.
    """
    for hook, kept, what in (("route", "logits", "logits of gates"),
                             ("pairs", "keys", "keys of attention")):
        if getattr(type(rule), hook) is not getattr(Rule, hook) and not any(
                getattr(moment, kept) for moment in record.frames):
            raise ValueError(f"{type(rule).__name__} needs {what}, and the record holds none")
    if record.model is None:
        return [replayed(record, moment, rule) for moment in record.frames]
    live = Live(rule)
    return [live.frame(moment) for moment in record.frames]


class Ledger:
    """The works of one frame, as its products come."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.works: dict[str, Work] = {}
        self.routed: dict[int, np.ndarray] = {}
        self.unused: dict[str, Tensor] = {}
        rule.start()

    def product(self, name: str, x: Tensor, weight: Tensor, tokens: Tensor,
                known: Tensor | None = None) -> Tensor:
        """Enter a product (R, K) x (K, N) with zero at 0; return what it sees of ``x``.

        ``known`` (R,) are the rows whose operand is at hand; the others are dense.
        """
        sent = self.rule.send(name, x, weight, tokens)
        events = sent.events
        made = self.unused.get(name.removesuffix("fc2") + "fc1") if name.endswith("fc2") else None
        if made is not None:
            events = made if events is None else events & made
        if events is not None and known is not None:
            events = events | ~known[:, None]
        if sent.made is not None:
            self.unused[name] = sent.made
        if not len(x):
            return x
        used = torch.ones(x.shape[-1], dtype=torch.bool) if events is None else events.any(0)
        outs = torch.ones(len(weight), dtype=torch.bool) if sent.made is None else (
            sent.made.any(0))
        count, kept = int(used.sum()) * int(outs.sum()), 1.0
        if self.rule.prunes:
            kept = float((weight != 0).double().mean())
            count = int((weight[outs][:, used] != 0).sum())
        self.works[name] = self.rule.charge(name, Work(
            rows=len(x), depth=x.shape[-1], columns=len(weight), events=mask(events),
            made=mask(sent.made), kept=kept, weight_bytes=count))
        if sent.value is not None:
            return sent.value
        return x if events is None else x * events

    def attention(self, name: str, x: Tensor, pairs: Tensor | None, columns: int) -> None:
        """Enter a product of the attention, (H, T, K); its right operand is on the chip."""
        tokens = torch.arange(x.shape[1]).repeat(len(x))
        events = self.rule.send(name, x.flatten(0, 1), None, tokens).events
        made, pairs = None, None if pairs is None else pairs.flatten(0, 1)
        if part(name) == "scores":
            made = pairs
        elif pairs is not None:
            events = pairs if events is None else events & pairs
        self.works[name] = self.rule.charge(name, Work(
            rows=len(tokens), depth=x.shape[-1], columns=columns, events=mask(events),
            made=mask(made), weight_bytes=0))

    def made(self, **outcome) -> Frame:
        """Return the frame."""
        return Frame(self.rule.finish(self.works), self.routed, **outcome)


def mask(value: Tensor | None) -> np.ndarray | None:
    """Return a mask as an array."""
    return None if value is None else value.numpy()


class Live(Recorder):
    """Run the integer network under a rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.network(rule.record.model))
        self.rule = rule

    def frame(self, moment: Moment) -> Frame:
        """Run one frame."""
        self.ledger = Ledger(self.rule)
        self.members: dict[int, Tensor] = {}
        self.attended: Tensor | None = None
        self.present: Tensor | None = None
        trace = self.run(moment.pixels, self.rule.record.task)
        return self.ledger.made(
            sqnr_db=sqnr(trace.x, moment.output),
            predicted=None if trace.scores is None else int(trace.scores.argmax()))

    def product(self, trace: Trace, name: str, a: Tensor, weight: Tensor,
                tokens: Tensor | None = None) -> Tensor:
        """Enter a product and multiply what is left of it."""
        trace.operands[name] = a
        zero = self.rule.record.zeros.get(name, 0)
        rows = torch.arange(len(a)) if tokens is None else tokens
        member = slice(None)
        if expert(name) is not None and layer(name) in self.members:
            member = self.members[layer(name)][rows, expert(name)]
        value = a.clone()
        value[member] = zero + self.ledger.product(name, a[member] - zero, weight, rows[member])
        return linear(value, weight)

    def block(self, layer: int, x: Tensor, task: int, trace: Trace,
              experts: Tensor | None) -> Tensor:
        """One block, of the tokens that take part in it."""
        self.present = self.rule.alive(layer, x, self.attended)
        if self.present is None:
            return super().block(layer, x, task, trace, experts)
        out = x.clone()
        out[self.present] = super().block(layer, x[self.present], task, trace, experts)
        return out

    def attend(self, layer: int, x: Tensor, trace: Trace) -> Tensor:
        """First half of a block, of the tokens that take part in it."""
        active = self.rule.attending(layer, x)
        if active is None:
            return super().attend(layer, x, trace)
        out = x.clone()
        if active.any():
            out[active] = super().attend(layer, x[active], trace)
        return out

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor | None:
        """Ask the rule for the pairs."""
        super().pairs(layer, q, k)
        count = self.model.config.num_heads
        self.attends = self.rule.pairs(layer, heads(q, count), heads(k, count))
        return self.attends

    def keep(self, trace: Trace, name: str, a: Tensor) -> None:
        """Enter a product of the attention."""
        super().keep(trace, name, a)
        self.ledger.attention(name, a, self.attends, a.shape[1] if name.endswith("scores")
                              else self.model.config.head_dim)
        if name.endswith("values"):
            self.attended = spread(a, self.present)

    def choose(self, layer: int, h: Tensor, logits: Tensor, scale: tuple[int, int],
               forced: Tensor | None) -> tuple[Tensor, Tensor]:
        """Ask the rule for the experts; one that a token does not use has weight 0."""
        chosen, weights = super().choose(layer, h, logits, scale, forced)
        wanted = self.rule.route(layer, h, self.logits[layer])
        if wanted is not None:
            member = wanted != 0                                             # (T, E)
            ranked = self.logits[layer].masked_fill(~member, -torch.inf)
            chosen = ranked.argsort(dim=-1, descending=True, stable=True)[:, :max(
                1, int(member.sum(-1).max()))]
            weight = self.logits[layer].softmax(-1) if wanted.dtype == torch.bool else wanted
            weights = ((weight * member * 65536).round().clamp(max=65535).to(torch.int64)
                       .gather(-1, chosen))
            self.members[layer] = member
        else:
            member = torch.zeros(logits.shape, dtype=torch.bool).scatter(-1, chosen, True)
        self.ledger.routed[layer] = member.sum(0).numpy()
        return chosen, weights


def spread(e: Tensor, present: Tensor | None) -> Tensor:
    """Return the attention (H, T', T') of those present as that of all tokens."""
    if present is None or e.shape[1] == len(present):
        return e
    places = present.nonzero().flatten()
    full = e.new_zeros(len(e), len(present), len(present))
    if len(places) == e.shape[1]:
        full[:, places[:, None], places] = e
    return full


def replayed(record: Record, moment: Moment, rule: Rule) -> Frame:
    """Apply a rule to recorded operands, which do not react."""
    ledger, current, present, attends, attended = Ledger(rule), -1, None, None, None
    active = None
    for name, a in moment.operands.items():
        if layer(name) != current and layer(name) >= 0:
            current, attends = layer(name), None
            present = rule.alive(current, a.double(), attended) if record.config else None
            active = rule.attending(current, a.double()) if record.config else None
        x = a.double() - record.zeros.get(name, 0)
        if part(name) in {"scores", "values"}:
            if part(name) == "scores" and current in moment.keys:
                attends = rule.pairs(current, x, moment.keys[current].double())
            else:
                attended = x if part(name) == "values" else attended
            replay_attention(ledger, record, name, x, attends, both(present, active))
        elif expert(name) is None:
            rows = torch.arange(len(x))
            taken = both(present, active if part(name) in HALF else None)
            if taken is not None and len(taken) == len(x):
                x, rows = x[taken], rows[taken]
            ledger.product(name, x, rule.weight(name, record.weights[name]), rows)
            if part(name) == "gate" and current in moment.logits:
                for each in members(record, moment, rule, ledger, current, present):
                    ledger.product(*each)
    return ledger.made()


HALF = ("q", "k", "v", "proj")
"""Linear layers of the first half of a block."""


def both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Return the tokens in both sets; None stands for all."""
    return other if one is None else one if other is None else one & other


def replay_attention(ledger: Ledger, record: Record, name: str, x: Tensor,
                     attends: Tensor | None, present: Tensor | None) -> None:
    """Enter a product of the attention, of the tokens present."""
    scores = part(name) == "scores"
    columns = x.shape[1] if scores else record.config.head_dim if record.config else (
        x.shape[-1])
    if present is not None:
        x = x[:, present] if scores else x[:, present][:, :, present]
        columns = x.shape[1] if scores else columns
    ledger.attention(name, x, attends, columns)


def members(record: Record, moment: Moment, rule: Rule, ledger: Ledger, number: int,
            present: Tensor | None) -> Iterator[tuple]:
    """Return the products of the experts of a layer, for the tokens that a rule sends there."""
    logits = moment.logits[number]
    gate = f"blocks.{number}.gate.{record.task}"
    took = torch.zeros(logits.shape, dtype=torch.bool).scatter(-1, moment.routes[number], True)
    wanted = rule.route(number, moment.operands[gate].double(), logits)
    member = took if wanted is None else wanted != 0
    if present is not None:
        member = member & present[:, None]
    ledger.routed[number] = member.sum(0).numpy()
    for index in member.any(0).nonzero().flatten().tolist():
        for last in ("fc1", "fc2"):
            name = f"blocks.{number}.experts.{index}.{last}"
            weight, tokens = record.weights[name], member[:, index].nonzero().flatten()
            full = torch.zeros(len(logits), weight.shape[-1], dtype=torch.float64)
            if name in moment.operands:
                full[took[:, index]] = moment.operands[name].double() - record.zeros.get(name, 0)
            yield (name, full[tokens], rule.weight(name, weight), tokens, took[tokens, index])
