"""The back end for LiteX, through LiteX's own server and client, to the Verilated model."""

import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from deltamoe.api.building import Build
from deltamoe.boards.driver.device import Device, DeviceError, DeviceTimeoutError
from deltamoe.boards.driver.litex import AWAKE, BURST, LiteX, remote
from deltamoe.boards.verilator.board import Verilated
from deltamoe.golden.engines import Output
from tests.boards.driver import litex_model
from tests.boards.driver.litex_model import Board
from tests.boards.driver.test_device import same

pytestmark = [pytest.mark.verilator, pytest.mark.xdist_group("driver")]


@pytest.fixture
def board(model: Verilated) -> Iterator[Board]:
    with Board(model) as board:
        yield board


def test_bursts_are_of_many_words(built: Build, board: Board, pixels: np.ndarray,
                                  golden: Output) -> None:
    assert same(Device(built.folder, board).run(pixels), golden)
    assert board.comm.longest == BURST


def test_sdram_is_woken_up_once(board: Board) -> None:
    assert board.comm.control == [14, 1]
    assert board.comm.mark == AWAKE
    LiteX(litex_model.soc(board.size), board.bridge)
    assert board.comm.control == [14, 1]
    board.comm.mark = 0x12345678  # a reset
    LiteX(litex_model.soc(board.size), board.bridge)
    assert board.comm.control == [14, 1, 14, 1]


def test_bytes_beside_those_written_stay(board: Board, seed: int) -> None:
    rng = np.random.default_rng(seed)
    expected = bytearray(rng.bytes(3000))
    board.write_memory(0, bytes(expected))
    for _ in range(30):
        size = int(rng.integers(0, 1200))
        at = int(rng.integers(0, len(expected) - size))
        expected[at : at + size] = data = rng.bytes(size)
        board.write_memory(at, data)
        start = int(rng.integers(0, 100))
        assert board.read_memory(start, len(expected) - start) == expected[start:]


def test_bytes_beyond_the_memory_are_refused(board: Board) -> None:
    for place, size in ((-1, 4), (board.size - 3, 4), (board.size + 1, 0)):
        for access in (lambda place=place, size=size: board.read_memory(place, size),
                       lambda place=place, size=size: board.write_memory(place, bytes(size))):
            with pytest.raises(DeviceError, match="beyond the memory"):
                access()


def test_another_soc_is_told(board: Board) -> None:
    """Whose register at this address keeps nothing."""
    with pytest.raises(DeviceError, match="register at 0xc reads 0x00000000 after"):
        LiteX(litex_model.soc(board.size).model_copy(update={"mark": 12}), board.bridge)


def test_what_is_lost_on_the_way_is_told(board: Board) -> None:
    board.write_memory(0, b"\0" * 8)
    board.comm.lost = True
    with pytest.raises(DeviceError, match="memory at 0x40000004 reads 0x00000000 after 0x01020304"):
        board.write_memory(0, bytes((1, 2, 3, 4, 4, 3, 2, 1)))


def test_a_server_that_ends_is_told(board: Board) -> None:
    """LiteX's client would return zeros."""
    board.comm.mute = True
    with pytest.raises(DeviceTimeoutError, match="no answer of litex_server in 5 seconds"):
        board.read_register(0)


def test_a_server_that_is_silent_is_told() -> None:
    """Behind its greeting."""
    with socket.create_server(("localhost", 0)) as server:
        bridge = []
        opening = threading.Thread(target=lambda: bridge.append(
            remote(port=server.getsockname()[1], timeout=0.2)))
        opening.start()
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"hello")
            opening.join()
            with pytest.raises(DeviceTimeoutError, match=r"litex_server in 0\.2 sec"):
                LiteX(litex_model.soc(4096), *bridge)
        bridge[0].close()


def test_no_server_is_one_line() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with pytest.raises(DeviceError, match=rf"^no litex_server at localhost:{port}: [^\n]*$"):
        remote(port=port)
