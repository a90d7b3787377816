"""Programs with known results, and what their transfers are: small enough for thousands of runs."""

from dataclasses import dataclass

import numpy as np
import torch

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.integer import Trace, infer
from deltamoe.golden.library import default_image, find
from deltamoe.golden.model import build
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.seeded import seeded
from deltamoe.rtl.compiler.assembler import NetworkProgram
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import DESCRIPTOR_BYTES, Descriptor, Halt, Load, Store, Target, pack
from tests.support.descriptors import broken

PAGE = 4096


@dataclass(frozen=True)
class Workload:
    """A program at the first byte of its window, and the window's bytes before and after.

    ``reads`` is the descriptor that each read beat belongs to, in order, as far as it is known
    without the routing; the beats of the program itself belong to descriptor 0. ``writes`` is that
    of each write burst.
    """

    name: str
    descriptors: tuple[Descriptor, ...]
    before: bytes
    after: bytes
    reads: tuple[int, ...]
    writes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the window."""
        return len(self.before)

    @property
    def stored(self) -> int:
        """Beats that are written."""
        return sum(store.beats for store in self.descriptors if isinstance(store, Store))

    def broken(self, index: int, **fields: int) -> bytes:
        """Return the window with some fields of one descriptor replaced."""
        raw = broken(self.descriptors[index], **fields)
        start = index * DESCRIPTOR_BYTES
        return self.before[:start] + raw + self.before[start + DESCRIPTOR_BYTES :]


def workload(hw: HwConfig, name: str, descriptors, before: bytes, after: bytes) -> Workload:
    """Fill the window up to whole pages and list the transfers."""
    length = -len(before) % PAGE
    first = min(len(descriptors), hw.piece)
    reads = [0] * (first * DESCRIPTOR_BYTES // hw.bus_bytes)
    for index, load in enumerate(descriptors):
        if isinstance(load, Load):
            if load.skip_if_empty:
                break
            reads += [index] * load.beats
    writes = [index for index, store in enumerate(descriptors) if isinstance(store, Store)
              for _ in range(bursts(hw, store.address, store.beats))]
    return Workload(name, tuple(descriptors), before + bytes(length), after + bytes(length),
                    tuple(reads), tuple(writes))


def bursts(hw: HwConfig, address: int, beats: int) -> int:
    """Count the bursts of a transfer: none longer than allowed, none across a page."""
    count, end = 0, address + beats * hw.bus_bytes
    while address < end:
        address = min(end, address + hw.burst_beats * hw.bus_bytes, (address // PAGE + 1) * PAGE)
        count += 1
    return count


def network(hw: HwConfig) -> Workload:
    """Return a network of one block, with experts: two tokens of eight numbers."""
    config = ModelConfig(
        name="tiny", image_channels=1, image_height=2, image_width=4, patch_size=2, embed_dim=8,
        num_layers=1, num_heads=1, hidden_dim=8, num_experts=2, top_k=1, expert_dim=4,
        num_tasks=1, num_classes=())
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (4, 1, 2, 4)).astype(np.uint8))
    model = quantize(build(config, seeded(config, 0)), images[1:])
    return compiled(hw, "network", compile_program(model, hw), images[0],
                    infer(model, images[0]))


def compiled(hw: HwConfig, name: str, program: NetworkProgram, image: torch.Tensor,
             result: Trace) -> Workload:
    """Return a compiled program, whose output is the residual stream and the scores, if any."""
    before = program.with_image(image.numpy()).tobytes()
    outputs = [result.x.reshape(-1)] + ([] if result.scores is None else [result.scores])
    words, start = torch.cat(outputs).numpy().astype("<i2").tobytes(), program.outputs_at[0]
    after = before[:start] + words + before[start + len(words) :]
    return workload(hw, name, program.descriptors, before, after)


def copies(hw: HwConfig, seed: int) -> Workload:
    """Return loads of kept sums and references, and stores of them that queue up."""
    rng = np.random.default_rng(seed)
    count, descriptors, moves, pieces, ends = int(rng.integers(2, 6)), [], [], [], []
    total = 3 * count + 1
    place = data = -(-total * DESCRIPTOR_BYTES // PAGE) * PAGE
    for number in range(count):
        target = Target.STATE if rng.random() < 0.6 else Target.REFERENCE
        beats = 2 * int(rng.integers(1, 60))
        width = hw.acc_width if target == Target.STATE else 32
        words = rng.integers(-1 << width - 1, 1 << width - 1, 2 * beats)
        pieces.append(words.astype("<i4").tobytes())
        moves.append((target, beats, 128 * number, place))
        place += beats * hw.bus_bytes + 8 * int(rng.integers(0, 100))
        pieces.append(bytes(place - data - sum(map(len, pieces))))
    for loads, (target, beats, base, address) in enumerate(moves, 1):
        descriptors.append(Load(target=target, beats=beats, base=base, address=address))
        for _ in range(2):
            descriptors.append(Store(target=target, beats=beats, base=base, address=place,
                                     wait_loads=loads))
            source = address - data
            ends.append(b"".join(pieces)[source : source + beats * hw.bus_bytes])
            skip = 8 * int(rng.integers(0, 100))
            ends.append(bytes(skip))
            place += beats * hw.bus_bytes + skip
    descriptors.append(Halt())
    code = b"".join(map(pack, descriptors)).ljust(data, b"\0")
    given, results = code + b"".join(pieces), b"".join(ends)
    return workload(hw, f"copies-{seed}", descriptors, given + bytes(len(results)),
                    given + results)


def halt(hw: HwConfig) -> Workload:
    """Return the shortest program."""
    return workload(hw, "halt", [Halt()], pack(Halt()), pack(Halt()))


def digits(hw: HwConfig) -> Workload:
    """Return the trained network of handwritten digits."""
    model = find("digits").quantized
    image = default_image(model.config)
    return compiled(hw, "digits", compile_program(model, hw), image, infer(model, image))
