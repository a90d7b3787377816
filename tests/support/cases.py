"""Cases of the stream units, drawn from a seed, answered by the golden models."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.combine import contribution
from deltamoe.golden.arithmetic.corner_turn import corner_turn
from deltamoe.golden.arithmetic.events import encode
from deltamoe.golden.arithmetic.gate import gate
from deltamoe.golden.arithmetic.gelu import gelu
from deltamoe.golden.arithmetic.layer_norm import layer_norm
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.arithmetic.rms_norm import rms_norm
from deltamoe.golden.arithmetic.softmax import normalizer, softmax
from deltamoe.golden.numerics import SHIFTS
from deltamoe.rtl import formats
from deltamoe.rtl.arith.divider import Divider, fraction, quotient
from deltamoe.rtl.attention.corner_turn import CornerTurn
from deltamoe.rtl.attention.last_key import LastKey
from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.control.transfer_queue import TransferQueue
from deltamoe.rtl.interfaces import parameters_of
from deltamoe.rtl.linear.event_encoder import EventEncoder
from deltamoe.rtl.linear.event_queue import EventQueue
from deltamoe.rtl.moe.gate import Gate
from deltamoe.rtl.norm.layer_norm import LayerNorm
from deltamoe.rtl.program import Dest
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.writeback.activation_table import ActivationTable
from deltamoe.rtl.writeback.combine import Combine
from deltamoe.rtl.writeback.requantize import Requantize
from tests.support.case import Case, pack

HW = PRESETS["nano"]
P = HW.word
TOGETHER = replace(HW, name="together", lanes=16, groups=8, read_words=4)
"""Reads four words of activations at a time."""


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.int64)


def words_of(row: list[int], layout, width: int, **rest) -> list[int]:
    """Split a row into words; ``last`` on the final one."""
    count = -(-len(row) // width)
    packed = []
    for n in range(count):
        part = row[n * width : (n + 1) * width]
        fields = {"data": part + [0] * (width - len(part)), "last": n == count - 1, **rest}
        if "count" in layout.members:
            fields["count"] = len(part)
        packed.append(pack(layout, fields))
    return packed


MAKERS: dict[str, Callable[[np.random.Generator], Case]] = {}
"""What draws the case of each name."""


def draws(name: str, *args) -> Callable:
    """Name the case that the function draws with ``args``."""
    def keep(maker: Callable[..., Case]) -> Callable[..., Case]:
        MAKERS[name] = lambda rng: maker(rng, *args)
        return maker

    return keep


@draws("softmax")
def softmax_case(rng: np.random.Generator) -> Case:
    kappa22, kappa26 = 3 << 22, 3 << 26
    inputs, out, factors = [], [], []
    rows = [[32767] * 17, [-32768] * 3, [0], [32767, -32768, 32767]]
    for n in range(8):
        length = int(rng.integers(1, HW.max_tokens + 1))
        rows.append(rng.normal(0, (40, 200, 3000)[n % 3], length).astype(int).clip(
            -32768, 32767).tolist())
    for row in rows:
        e, total = softmax(tensor(row))
        multiplier, shift = normalizer(total, kappa22, kappa26)
        inputs += words_of(row, formats.scores(P), P)
        out += words_of(e.tolist(), formats.beat(8, P), P)
        factors.append(pack(formats.NORMALIZER, {
            "multiplier": int(multiplier), "shift": (int(shift) - 14) // 4}))
    assert {2, 3} == {factor >> 16 for factor in factors}, "both shifts must occur"
    return Case("softmax", lambda: Softmax(HW), {"i": inputs}, {"o": out, "normalizer": factors},
                {"kappa22": kappa22, "kappa26": kappa26})


@draws("layer_norm", False)
@draws("rms_norm", True)
def norm_case(rng: np.random.Generator, rms: bool) -> Case:
    dim, base, shift, epsilon = 24, 3, 7, 38
    gain = rng.integers(-20000, 20000, dim)
    gain[:4] = 32767, -32768, *(1 << (shift - 1),) * 2
    bias = rng.integers(-(1 << 24), 1 << 24, dim) * (not rms)
    rows = [np.tile([32767, -32768], dim // 2),    # first, when no row before hides its scale
            np.zeros(dim, int), np.full(dim, 32767), np.full(dim, -32768),
            np.eye(1, dim, 5, dtype=int)[0], np.tile([256, -256], dim // 2)]
    rows += [rng.normal(rng.normal(0, 300), 10 ** rng.uniform(0, 3.5), dim).astype(int).clip(
        -32768, 32767) for _ in range(9)]
    inputs, out, unsaturated, ties = [], [], 0, False
    for row in rows:
        y = (rms_norm(tensor(row), tensor(gain), shift, epsilon) if rms else
             layer_norm(tensor(row), tensor(gain), tensor(bias), shift, epsilon))
        unsaturated += int((y.abs() < 127).sum())
        ties |= y[2:4].tolist() == [1, 0]          # of halves of both signs
        inputs += words_of(row.tolist(), formats.beat(formats.signed(16), P), P)
        out += words_of(y.tolist(), formats.beat(formats.signed(8), P), P)
    assert unsaturated > 0.2 * dim * len(rows), "stimulus hardly leaves saturation"
    assert ties or not rms, "no element of RMSNorm is half way between two codes"

    setup = [{"parameters__en": 1, "parameters__address": base + word,
              "parameters__data": pack(parameters_of(HW), [
                  {"bias": int(bias[word * P + n]), "multiplier": int(gain[word * P + n]) & 0xFFFF}
                  for n in range(P)])} for word in range(dim // P)]
    return Case("rms_norm" if rms else "layer_norm", lambda: LayerNorm(HW), {"i": inputs},
                {"o": out}, {"settings__dim": dim, "settings__rms": int(rms),
                             "settings__epsilon": epsilon, "settings__gain_shift": shift,
                             "settings__param_base": base}, setup)


@draws("corner_turn")
def corner_turn_case(rng: np.random.Generator) -> Case:
    inputs, out, words = [], [], 3
    for count in (1, P, 2 * P + 1, 5, 3 * P):
        rows = rng.integers(-128, 128, (count, words * P))
        for number, row in enumerate(rows):
            inputs += words_of(row.tolist(), formats.tokens(P), P, flush=number == count - 1)
        blocks = corner_turn(tensor(rows), P).tolist()
        for number, block in enumerate(blocks):
            out += [pack(formats.beat(formats.signed(8), P), {
                "data": block, "last": (number + 1) % (words * P) == 0})]
    return Case("corner_turn", lambda: CornerTurn(HW), {"i": inputs}, {"o": out}, {"words": words})


@draws("last_key")
def last_key_case(rng: np.random.Generator) -> Case:
    hw = replace(HW, last_key=True, attention_lag=31)
    heads, words, tokens = 2, 3, 16
    key = rng.integers(-128, 128, (heads, words * P))
    queries = rng.integers(-128, 128, (tokens, heads, words * P))
    key[0], queries[0, 0], queries[1, 0] = -128, -128, 127
    others = rng.integers(-128, 128, (2, heads * words * P))
    setup = [{"keys__valid": 1, "keys__payload": word} for row in (*others, key.reshape(-1))
             for word in words_of(row.tolist(), formats.beat(formats.signed(8), P), P)]
    inputs = [word for query in queries.reshape(-1, words * P)
              for word in words_of(query.tolist(), formats.beat(formats.signed(8), P), P)]
    scores = [linear(tensor(query[None]), tensor(own[None])).item() & (1 << hw.acc_width) - 1
              for token in queries for query, own in zip(token, key, strict=True)]
    return Case("last_key", lambda: LastKey(hw), {"i": inputs}, {"o": scores}, {}, setup,
                len(inputs) - 1 + LastKey.latency(hw) + 1)


@draws("gate")
def gate_case(rng: np.random.Generator) -> Case:
    experts, k, multiplier, code = 7, 3, 20011, 1
    shift = 14 + 4 * code
    low = rng.integers(-(1 << 14), 1 << 14, (20, experts))
    high = rng.integers(-60, 60, (20, experts))
    high[3:6], low[3:6] = 11, 5           # exact ties of all
    high[6, 4], low[6, 4] = high[6, 1], low[6, 1]   # an exact tie of two
    low[7, 2], high[7, 2] = low[7, 0] - 256, high[7, 0] + 1   # equal logits, different planes
    high[8], low[8] = np.arange(experts), 0
    high[9:11], low[9:11] = [[(1 << 24) - 1], [-(1 << 24)]], 0   # extremes
    logits = 256 * tensor(high) + tensor(low)
    chosen, weights = gate(logits, multiplier, shift, k)
    assert ((weights > 0) & (weights < 40000)).float().mean() > 0.3, "weights hardly vary"
    layout = formats.beat(formats.signed(HW.acc_width), P)
    inputs, out = [], []
    for token in range(20):
        row = [int(v) for pair in zip(high[token], low[token], strict=True) for v in pair]
        inputs += words_of(row, layout, P)
        out += [pack(formats.route(HW), {
                    "expert": int(chosen[token, n]), "weight": int(weights[token, n]),
                    "last": n == k - 1, "slot": n})
                for n in range(k)]
    return Case("gate", lambda: Gate(HW), {"i": inputs}, {"o": out},
                {"settings__num_experts": experts, "settings__top_k": k,
                 "settings__multiplier": multiplier, "settings__shift": code,
                 "memory__top_k": k})


def tagged(rng: np.random.Generator, dest: Dest) -> dict:
    return {"dest": dest, "address": int(rng.integers(HW.dest_words)),
            "weight": int(rng.choice([0, 1, 65535, int(rng.integers(1 << 16))])),
            "count": P, "last": int(rng.integers(2))}


@draws("requantize")
def requantize_case(rng: np.random.Generator) -> Case:
    inputs, out, inner = [], [], 0
    for number in range(192):
        width, code = number % 6, number // 6 % 4
        kind, shift = formats.RESULTS[width], SHIFTS[code]
        limit = 1 << (kind.bits - 1)
        multiplier = rng.integers(1, 1 << 16, P)
        wanted = rng.uniform(-1.4, 1.4, P) * limit * 2.0**shift / multiplier
        top = (1 << (HW.acc_width - 1)) - 1
        total = np.clip(wanted, -top - 1, top).astype(np.int64)
        if number % 7 == 0:                # an exact tie: product = (odd) * 2**(shift - 1)
            multiplier[0], total[0] = 1 << 13, (2 * int(rng.integers(-9, 9)) + 1) << (shift - 14)
        if number % 11 == 0:
            multiplier[1], total[1] = 65535, rng.choice([top, -top - 1])
        bias = rng.integers(-1000, 1000, P)
        acc = np.clip(total - bias, -top - 1, top)
        total = np.clip(acc + bias, -top - 1, top)
        bias = total - acc
        result = requantize(tensor(total), tensor(multiplier), shift, kind)
        inner += int((result.abs() < limit - 1).sum())
        tag = tagged(rng, Dest.ACT)
        inputs.append(pack(formats.scaled(HW), {
            "acc": acc.tolist(), "bias": bias.tolist(), "multiplier": multiplier.tolist(),
            "shift": code, "width": width, "tag": tag}))
        out.append(pack(formats.requantized(HW), {"data": result.tolist(), "tag": tag}))
    assert inner > 0.3 * 192 * P, "stimulus hardly leaves saturation"
    return Case("requantize", lambda: Requantize(HW), {"i": inputs}, {"o": out},
                cycles=Requantize.timing.cycles(192))


@draws("activation_table")
def activation_case(rng: np.random.Generator) -> Case:
    table = rng.integers(0, 256, 1024)
    setup = [{"write__en": 1, "write__address": 1024 + n, "write__data": int(value)}
             for n, value in enumerate(table)]
    inputs, out = [], []
    for number in range(60):
        row = rng.integers(-512, 512, P)
        row[0] = (-512, 511, 0, -1)[number % 4]
        dest = Dest.HIDDEN if number % 3 else Dest.RESIDUAL
        tag = tagged(rng, dest) | {"bank": 1}
        result = gelu(tensor(row), tensor(table)) if dest == Dest.HIDDEN else tensor(row)
        inputs.append(pack(formats.requantized(HW), {"data": row.tolist(), "tag": tag}))
        out.append(pack(formats.requantized(HW), {"data": result.tolist(), "tag": tag}))
    return Case("activation_table", lambda: ActivationTable(HW), {"i": inputs}, {"o": out},
                {}, setup, ActivationTable.timing.cycles(60))


@draws("combine")
def combine_case(rng: np.random.Generator) -> Case:
    inputs, out = [], []
    for number in range(80):
        row = rng.integers(-(1 << 19), 1 << 19, P)
        row[0] = (-(1 << 19), (1 << 19) - 1, 0, 1)[number % 4]
        tag = tagged(rng, Dest.COMBINE if number % 3 else Dest.ACT)
        if number % 5 == 0:                # an exact tie: 3 * 2**17
            row[1], tag["weight"] = (3, -3)[number % 2] << 2, 1 << 15
        result = contribution(tensor(row), tensor(tag["weight"])) if number % 3 else tensor(row)
        inputs.append(pack(formats.requantized(HW), {"data": row.tolist(), "tag": tag}))
        out.append(pack(formats.requantized(HW), {"data": result.tolist(), "tag": tag}))
    return Case("combine", lambda: Combine(HW), {"i": inputs}, {"o": out},
                cycles=Combine.timing.cycles(80))


@draws("encoder_dense", True)
@draws("encoder_skip", False)
@draws("encoder_delta", False, 3)
def encoder_case(rng: np.random.Generator, dense: bool, theta: int = 0) -> Case:
    """Without ``theta`` one reference for all elements, as in zero-skipping; else one for each."""
    inputs, out = [], []
    for number in range(60):
        count = int(rng.integers(1, P + 1))
        operand = rng.integers(-128, 128, P)
        reference = np.full(P, rng.integers(-127, 128))
        if theta:
            near = rng.integers(-theta - 1, theta + 2, P)
            operand, reference = operand.clip(-100, 100), (operand + near).clip(-128, 127)
        else:
            operand[rng.random(P) < 0.6] = reference[0]
        if number % 6 == 0:
            operand[:] = reference
        if number % 7 == 0:
            operand[0], reference[:] = 127, -128
        last, base = int(rng.integers(2)), int(rng.integers(1 << HW.row_bits))
        inputs.append(pack(formats.operands(HW), {
            "operand": operand.tolist(), "complement": (~reference).tolist(), "dense": int(dense),
            "theta": theta,
            "count": count, "leader": number % HW.groups, "span": 1, "gang": 2, "split": 1,
            "row": base, "kv": number % 2, "last": last, "columns": 8}))
        events = dict(encode_row(operand[:count], reference[:count], dense, theta))
        if events or last:
            mask = sum(1 << n for n in events)
            out.append(pack(formats.broadcast(HW), {
                "word": {"delta": (operand - reference).tolist(), "mask": mask, "row": base,
                         "kv": number % 2, "last": last}}))
    assert dense or len(out) < 60, "no word was dropped"
    name = "encoder_dense" if dense else "encoder_delta" if theta else "encoder_skip"
    return Case(name, lambda: EventEncoder(HW),
                {"i": inputs}, {"o": out})


@draws("encoder_together")
def encoder_together_case(rng: np.random.Generator) -> Case:
    """Words that are read together and single ones, each beside copies of it, in any order."""
    inputs, out, more, size = [], [], TOGETHER.read_words - 1, TOGETHER.word
    for number in range(80):
        wide, dense, is_signed, upper = rng.integers(0, 2, 4).tolist()
        low, high = (-128, 128) if is_signed else (0, 256)
        reference = int(rng.integers(low, high))
        words = rng.integers(low, high, (1 + more, size))
        words[rng.random(words.shape) < 0.8] = reference
        words[0, 0], words[-1, -1] = ((low, high - 1), (high - 1, low))[number % 2]
        if number % 4 == 0:
            words[:] = reference
        elif number % 4 == 1:
            words[int(rng.integers(1 + more))] = reference
        count = size if wide else int(rng.integers(1, size + 1))
        last, base = int(rng.integers(2)), int(rng.integers(1 << TOGETHER.row_bits))
        halves = rng.integers(0, 256, (2, more, size))
        halves[upper] = words[1:] % 256
        place = {"leader": number % TOGETHER.groups, "span": 1, "gang": 0, "split": 2}
        inputs.append(pack(formats.operands(TOGETHER), {
            "operand": words[0].tolist(), "complement": [~reference] * size, "dense": dense,
            "wide": wide, "operand_signed": is_signed, "upper": upper, "beside": halves.tolist(),
            "count": count, "row": base, "last": last, "columns": 8, **place}))
        words = words if wide else words[[0] * (1 + more)]
        masks = [sum(1 << n for n in dict(encode_row(
            word[:count], np.full(count, reference), dense, 0))) for word in words]
        if any(masks) or last:
            deltas = (words - reference).tolist()
            out.append(pack(formats.broadcast(TOGETHER), {
                "word": {"delta": deltas[0], "mask": masks[0], "row": base, "last": last},
                "beside": [{"delta": delta, "mask": mask}
                           for delta, mask in zip(deltas[1:], masks[1:], strict=True)],
                "wide": wide}))
    assert len(out) < 80, "no word was dropped"
    return Case("encoder_together", lambda: EventEncoder(TOGETHER), {"i": inputs}, {"o": out})


def encode_row(operand, reference, dense, theta):
    """Events of a row by the golden model."""
    return encode(tensor(operand), "dense" if dense else "delta", **(
        {} if dense else {"reference": tensor(reference), "theta": theta}))


@draws("event_queue")
def queue_case(rng: np.random.Generator) -> Case:
    inputs, out = [], []
    for number in range(60):
        delta = rng.integers(-255, 256, P)
        mask = int(rng.integers(0, 1 << P)) if number % 5 else 0
        last = int(rng.integers(2)) if mask else 1
        base = int(rng.integers(1 << 12))
        inputs.append(pack(formats.event_word(HW), {
            "delta": delta.tolist(), "mask": mask, "row": base, "kv": 0, "last": last,
            "empty": int(not mask)}))
        sent = [n for n in range(P) if mask >> n & 1]
        for n in sent:
            out.append(pack(formats.event(HW), {"delta": int(delta[n]), "row": base + n,
                                            "last": last and n == sent[-1]}))
        if not sent:
            out.append(pack(formats.event(HW), {"delta": 0, "row": base, "last": 1}))
    return Case("event_queue", lambda: EventQueue(HW, HW.queue_words), {"i": inputs}, {"o": out})


@draws("divider")
def divider_case(rng: np.random.Generator) -> Case:
    pairs = [(0, 1), (65535, 1), (65536, 1), ((1 << 40) - 1, 1), ((1 << 24) - 1, (1 << 24) - 1)]
    pairs += [(int(d * q + r), int(d)) for d, q, r in zip(
        rng.integers(1, 1 << 20, 30), rng.integers(0, 1 << 16, 30), rng.integers(0, 2, 30),
        strict=True)]
    pairs += [(min(int(d * q), (1 << 40) - 1), int(d)) for d, q in zip(
        rng.integers(1, 1 << 24, 30), rng.choice([1, 65535, 65536, 1 << 17, 1 << 22], 30),
        strict=True)]
    pairs += [((1 << 39) + (1 << 16), 2)]  # the rest of the first bit is 24 zeros
    return Case("divider", lambda: Divider(6), {"i": [
        pack(fraction(6), {"numerator": n, "denominator": d, "tag": k})
        for k, (n, d) in enumerate(pairs)]}, {"o": [
            pack(quotient(6), {"value": min(65535, n // d), "tag": k})
            for k, (n, d) in enumerate(pairs)]}, cycles=Divider.LATENCY + len(pairs))


@draws("fifo")
def fifo_case(rng: np.random.Generator) -> Case:
    words = rng.integers(0, 256, 50).tolist()
    return Case("fifo", lambda: Fifo(8, 3), {"i": words}, {"o": words},
                cycles=Fifo.timing.cycles(50))


@draws("transfer_queue")
def transfer_queue_case(rng: np.random.Generator) -> Case:
    bits = formats.TRANSFER.size
    transfers = [int.from_bytes(rng.bytes(-(-bits // 8)), "little") >> -bits % 8 for _ in range(40)]
    return Case("transfer_queue", lambda: TransferQueue(HW), {"i": transfers}, {"o": transfers},
                cycles=len(transfers) + TransferQueue.LATENCY)


def make(name: str, seed: int) -> Case:
    """Draw the case ``name``."""
    return MAKERS[name](np.random.default_rng(seed))


def first_rows(case: Case, rows: int, port: str = "o") -> Case:
    """Keep ``rows`` rows of a case whose rows all have the same length."""
    inputs, outputs = (len(case.inputs["i"]), len(case.outputs[port]))
    total = {"layer_norm": 15, "gate": 20}[case.name]
    return replace(case, inputs={"i": case.inputs["i"][: inputs // total * rows]},
                   outputs={port: case.outputs[port][: outputs // total * rows]})
