"""A memory behind the AXI ports of a unit, in Amaranth's simulator: every byte follows from where
it lies.
"""

from collections import deque
from collections.abc import Callable
from functools import cache

OKAY, SLVERR, DECERR = 0, 2, 3


@cache
def content(address: int, size: int) -> int:
    """Return the bytes of memory from ``address`` on."""
    return int.from_bytes(bytes((167 * place + (place >> 8)) % 251 for place in range(
        address, address + size)), "little")


def never() -> bool:
    """Return that a channel does not pause."""
    return False


class Address:
    """An address channel, and what holds of it whatever the unit does."""

    def __init__(self, axi, name: str, size: int) -> None:
        self.axi, self.name, self.size = axi, name, size
        self.bursts: list[tuple[int, int]] = []  # address and beats of those that were taken
        self.waits = None

    def see(self, ctx) -> tuple[int, int] | None:
        """Return address and beats of a burst that is taken in this cycle."""
        axi, name = self.axi, self.name
        valid, ready, address, length, size, burst = (
            ctx.get(getattr(axi, f"{name}{part}"))
            for part in ("valid", "ready", "addr", "len", "size", "burst"))
        if self.waits:
            assert (valid, address, length) == (1, *self.waits), "an offer was taken back"
        self.waits = (address, length) if valid and not ready else None
        if not valid:
            return None
        assert (1 << size, burst) == (self.size, 1)
        assert address // 4096 == (address + (length + 1) * self.size - 1) // 4096
        if not ready:
            return None
        self.bursts.append((address, length + 1))
        return self.bursts[-1]


class ReadPort:
    """The read channels of one port.

    ``faults`` are the response and the inversion of ``rlast`` of a beat, by the beat's address.
    """

    def __init__(self, axi, *, latency: int, interval: int = 1, pauses: Callable[[], bool] = never,
                 faults: dict[int, tuple[int, int]] | None = None) -> None:
        self.axi, self.size = axi, len(axi.rdata) // 8
        self.latency, self.interval, self.pauses = latency, interval, pauses
        self.faults = faults or {}
        self.address = Address(axi, "ar", self.size)
        self.owed: deque[tuple[int, int, int]] = deque()
        self.free, self.held = 0, False

    def drive(self, ctx, cycle: int) -> None:
        axi = self.axi
        ctx.set(axi.arready, not self.pauses())
        valid = bool(self.owed) and max(self.owed[0][1], self.free) <= cycle and (
            self.held or not self.pauses())
        ctx.set(axi.rvalid, valid)
        if valid:
            address, _, last = self.owed[0]
            response, flip = self.faults.get(address, (OKAY, 0))
            ctx.set(axi.rdata, content(address, self.size))
            ctx.set(axi.rlast, last ^ flip)
            ctx.set(axi.rresp, response)

    def see(self, ctx, cycle: int) -> None:
        if ctx.get(self.axi.rvalid):
            self.held = not ctx.get(self.axi.rready)
            if not self.held:
                self.owed.popleft()
                self.free = cycle + self.interval
        if taken := self.address.see(ctx):
            address, beats = taken
            self.owed.extend((address + n * self.size, cycle + self.latency, n == beats - 1)
                             for n in range(beats))


class WritePort:
    """The write channels of one port; ``memory`` is what was written, by the address of a byte.

    ``faults`` are the responses of bursts, by the burst's address.
    """

    def __init__(self, axi, *, latency: int, interval: int = 1, pauses: Callable[[], bool] = never,
                 faults: dict[int, int] | None = None) -> None:
        self.axi, self.size = axi, len(axi.wstrb)
        self.latency, self.interval, self.pauses = latency, interval, pauses
        self.faults = faults or {}
        self.address = Address(axi, "aw", self.size)
        self.memory: dict[int, int] = {}
        self.bursts: deque[list[int]] = deque()
        self.answers: deque[tuple[int, int]] = deque()
        self.free = 0

    @property
    def owes(self) -> bool:
        return bool(self.bursts or self.answers)

    def drive(self, ctx, cycle: int) -> None:
        axi = self.axi
        ctx.set(axi.awready, not self.pauses())
        ctx.set(axi.wready, bool(self.bursts) and cycle >= self.free and not self.pauses())
        answers = bool(self.answers) and self.answers[0][0] <= cycle and not self.pauses()
        ctx.set(axi.bvalid, answers)
        ctx.set(axi.bresp, self.answers[0][1] if answers else OKAY)

    def see(self, ctx, cycle: int) -> None:
        axi = self.axi
        if ctx.get(axi.bvalid):
            assert ctx.get(axi.bready)
            self.answers.popleft()
        if ctx.get(axi.wvalid) and ctx.get(axi.wready):
            burst, data = self.bursts[0], ctx.get(axi.wdata)
            for n in range(self.size):
                if ctx.get(axi.wstrb) >> n & 1:
                    self.memory[burst[1] + n] = data >> 8 * n & 255
            burst[1:] = burst[1] + self.size, burst[2] - 1
            self.free = cycle + self.interval
            assert ctx.get(axi.wlast) == (burst[2] == 0)
            if burst[2] == 0:
                self.answers.append((cycle + self.latency, self.faults.get(burst[0], OKAY)))
                self.bursts.popleft()
        if taken := self.address.see(ctx):
            self.bursts.append([taken[0], *taken])
