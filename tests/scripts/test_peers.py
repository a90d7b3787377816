"""Other simulators: the same products, and a peer that fails says why."""

import json
from dataclasses import replace

import pytest

from deltamoe.experiments.peers import compare
from deltamoe.experiments.peers.compare import PEERS, Peer, job
from deltamoe.experiments.peers.layers import gemms
from deltamoe.golden.config import MODELS
from deltamoe.sim.outline import facts
from tests.scripts import test_cli


@pytest.mark.parametrize("name", MODELS)
def test_products_are_all_of_the_network(name: str) -> None:
    config = MODELS[name]
    for task in range(config.num_tasks):
        products = gemms(config, facts(config, task))
        assert sum(gemm.m * gemm.n * gemm.k for gemm in products) == config.macs
        assert len({gemm.name for gemm in products}) == len(products)


def test_all_run_the_same() -> None:
    comparison = job()
    config = replace(MODELS[comparison["model"]], num_layers=comparison["blocks"])
    ours = PEERS[0].run(comparison)
    busy = config.macs / ours["cycles"] / comparison["rows"] / comparison["columns"]
    assert 0.8 < busy < 1
    assert ours["seconds"] < 5
    assert sum(gemm["m"] * gemm["n"] * gemm["k"] for gemm in comparison["gemms"]) == config.macs


def test_peer_that_cannot_be_installed_says_why(
        tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("DELTAMOE_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    missing = Peer("Missing 1", "scalesim", ("deltamoe-has-no-such-peer==1",))
    monkeypatch.setattr(compare, "PEERS", (PEERS[0], missing))
    code, out, err = test_cli.run(monkeypatch, capsys, "bench", "--peers")
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "pip install deltamoe-has-no-such-peer==1 failed: ERROR: Could not find" in err
    monkeypatch.setattr(compare, "PEERS", (PEERS[0], missing, replace(PEERS[0], name="Ours")))
    code, out, err = test_cli.run(monkeypatch, capsys, "bench", "--peers", "--json", "-")
    assert code == 0
    ours, failed, again = json.loads(out)["peers"]["simulators"]
    assert "Could not find a version" in failed["failed"]
    assert again["cycles"] == ours["cycles"]
    assert again["times_ours"] == again["seconds"] / ours["seconds"]


@pytest.mark.slow  # installs and runs for minutes
def test_peers_run() -> None:
    rows = compare.measured().rows
    for row in rows:
        if "No matching distribution" in row.get("failed", ""):
            pytest.skip(f"no network: {row['failed']}")
        assert "failed" not in row, row
        assert row["cycles"] > 0
    assert rows[1]["times_ours"] >= 100
