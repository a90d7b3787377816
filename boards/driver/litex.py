"""A SoC of LiteX, through a bridge from the host: what ``deltamoe bitstream`` makes.

Never run on a board: the tests put the Verilated accelerator behind LiteX's server, and simulate
the whole SoC with its SDRAM.
"""

import time
from typing import Protocol

from deltamoe.boards.driver.bitstream import Soc
from deltamoe.boards.driver.device import Backend, DeviceError, DeviceTimeoutError

WORD = 4
BURST = 128
"""Words of one transfer; the protocols of LiteX's bridges allow 255."""

AWAKE = 0x5D7A3A11
"""What the mark of a SoC holds once its SDRAM is awake."""

PAUSE = 1e-3
"""Seconds between two looks at a register; one look over a UART takes about as long."""


class Bridge(Protocol):
    """What LiteX's ``RemoteClient`` and ``CommUART`` have in common; addresses are of bytes."""

    def read(self, addr: int, length: int) -> list[int]:
        """Return words of 32 bits."""

    def write(self, addr: int, datas: list[int]) -> None:
        """Write words of 32 bits; those behind see them."""

    def close(self) -> None:
        """Let go of the SoC."""


class LiteX(Backend):
    """An accelerator in a SoC of LiteX.

    Nothing is cached, on either side. Transfers are in bursts; the last word of each one that is
    written is read back. SDRAM is woken up if nobody has done so since reset::

        with LiteX(read_bitstream(Path("out/ulx3s")).soc, remote()) as board:
            device = Device("out/digits", board)

    Parameters
    ----------
    soc : Soc
        Of the manifest that ``deltamoe bitstream`` wrote.
    bridge : Bridge
        As :func:`remote` returns it.

    Raises
    ------
    DeviceError
        The bridge does not answer, or to another SoC.
    """

    def __init__(self, soc: Soc, bridge: Bridge) -> None:
        self.base, self.size = 0, soc.memory.bytes
        self._soc, self._bridge = soc, bridge
        if self._get(soc.mark, 1) != [AWAKE]:
            for step in soc.wake:
                self._put(step.address, [step.value])
                if step.cycles:
                    self.wait(step.cycles * 1e-6 / soc.clock_mhz)
            self._put(soc.mark, [AWAKE])
        found, = self._get(soc.mark, 1)
        if found != AWAKE:
            raise DeviceError(f"register at {soc.mark:#x} reads {found:#010x} after {AWAKE:#010x} "
                              "was written there: this bitstream's SoC does not answer")

    def close(self) -> None:
        """Let go of the SoC."""
        self._bridge.close()

    def read_register(self, offset: int) -> int:
        return self._get(self._soc.registers.address + offset, 1)[0]

    def write_register(self, offset: int, value: int) -> None:
        self._put(self._soc.registers.address + offset, [value])
        self._get(self._soc.mark, 1)  # the bridge answers no write, and a read behind all writes

    def read_memory(self, offset: int, size: int) -> bytes:
        first, behind = self._words(offset, size)
        if not size:
            return b""
        found = b"".join(word.to_bytes(WORD, "little") for at in range(first, behind, BURST)
                         for word in self._get(self._soc.memory.address + WORD * at,
                                               min(BURST, behind - at)))
        return found[offset - WORD * first :][:size]

    def write_memory(self, offset: int, data: bytes) -> None:
        first, behind = self._words(offset, len(data))
        before = self.read_memory(WORD * first, offset - WORD * first)
        after = self.read_memory(offset + len(data), WORD * behind - offset - len(data))
        whole = before + data + after
        words = [int.from_bytes(whole[at : at + WORD], "little")
                 for at in range(0, len(whole), WORD)]
        for at in range(0, len(words), BURST):
            part = words[at : at + BURST]
            address = self._soc.memory.address + WORD * (first + at)
            self._put(address, part)
            last = address + WORD * (len(part) - 1)
            found, = self._get(last, 1)
            if found != part[-1]:
                raise DeviceError(f"memory at {last:#x} reads {found:#010x} after {part[-1]:#010x} "
                                  "was written there")

    def now(self) -> float:
        return time.monotonic()

    def pause(self) -> None:
        self.wait(PAUSE)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def _words(self, offset: int, size: int) -> tuple[int, int]:
        """Return the first word of memory that bytes lie in, and the one behind them.

        Raises
        ------
        DeviceError
            Some bytes are beyond the memory's end.
        """
        if not 0 <= offset <= self.size - size:
            raise DeviceError(f"{size} bytes from {offset} on are beyond the memory of {self.size}")
        return offset // WORD, -(-(offset + size) // WORD)

    def _get(self, address: int, count: int) -> list[int]:
        """Read words.

        Raises
        ------
        DeviceError
            The bridge does not answer.
        """
        try:
            return self._bridge.read(address, count)
        except OSError as error:
            raise lost(error) from None

    def _put(self, address: int, words: list[int]) -> None:
        """Write words.

        Raises
        ------
        DeviceError
            The bridge is not there.
        """
        try:
            self._bridge.write(address, words)
        except OSError as error:
            raise lost(error) from None


def lost(error: OSError) -> DeviceError:
    """Return what the loss of a bridge is for a driver."""
    kind = DeviceTimeoutError if isinstance(error, TimeoutError) else DeviceError
    return kind(f"the bridge to the SoC does not answer: {error or type(error).__name__}")


def remote(host: str = "localhost", port: int = 1234, timeout: float = 5.0) -> Bridge:
    """Return a client of ``litex_server``, which has the UART, or an Etherbone over Ethernet.

    Parameters
    ----------
    host, port : str, int
        Where the server runs.
    timeout : float
        Seconds that an answer may take. LiteX's own client takes a late one for zeros.

    Raises
    ------
    DeviceError
        There is no server, or no package ``litex``.
    """
    try:
        from litex.tools.litex_client import RemoteClient
    except ImportError:
        raise DeviceError("the client of litex_server is in the package litex: pip install litex"
                          ) from None

    class Client(RemoteClient):
        def receive_packet(self, socket, addr_size):
            found = super().receive_packet(socket, addr_size)
            if not found:
                raise TimeoutError(f"no answer of litex_server in {timeout:g} seconds")
            return found

    client = Client(host, port)
    try:
        client.open()
    except OSError as error:
        raise DeviceError(f"no litex_server at {host}:{port}: {error.strerror or error}") from None
    client.socket.settimeout(timeout)
    return client
