"""Activation sparsity: unions, quantiles, and the rules worked by hand."""

import numpy as np
import pytest
import torch

from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.sparsity.generated import generated
from deltamoe.golden.sparsity.metrics import union_density
from deltamoe.golden.sparsity.names import recognize
from deltamoe.golden.sparsity.record import Moment, Record
from deltamoe.golden.sparsity.rules.activation import Teal
from deltamoe.golden.sparsity.rules.contribution import ErrorBudget
from tests.golden.sparsity.support import by_name, layer, play

WIDE = 40_000
NNZ = 0.063
"""Hidden units that fire in ViT-B/16: the lazy neuron phenomenon."""

GENERATOR = torch.Generator().manual_seed(9)


def codes(rows: int, columns: int) -> torch.Tensor:
    return torch.randint(-100, 101, (rows, columns), generator=GENERATOR)


def test_eight_tokens_of_6_3_percent_need_40_6_percent_of_the_weights() -> None:
    """1 - (1 - s)^T; multiplications follow the mean, bytes the union."""
    assert union_density(NNZ, 8) == pytest.approx(0.406, abs=0.0005)
    record = generated({"fc2": (8, WIDE, 2)}, density=NNZ, frames=1)
    (frame,), (dense,) = play("relu", record), play("dense", record)
    deviation = (0.406 * 0.594 / WIDE) ** 0.5
    assert frame.weight_bytes / dense.weight_bytes == pytest.approx(0.406, abs=5 * deviation)
    assert frame.macs / dense.macs == pytest.approx(NNZ, rel=0.05)


def test_tokens_that_are_alike_need_fewer_weights() -> None:
    """Half of the elements from a common row: its zeros are 0 in (1 - s/2)^T of the columns."""
    record = generated({"fc2": (8, WIDE, 2)}, density=NNZ, token_correlation=0.5, frames=1)
    (frame,), (dense,) = play("relu", record), play("dense", record)
    none = (1 - NNZ) * (1 - NNZ / 2) ** 8 + NNZ * ((1 - NNZ) / 2) ** 8
    assert frame.weight_bytes / dense.weight_bytes == pytest.approx(1 - none, abs=0.015)
    assert 1 - none < 0.29


def test_relu_sends_the_units_that_fire(live: Record) -> None:
    for moment, frame in zip(live.frames, play("relu", live), strict=True):
        first = by_name(frame.works)["blocks.0.fc2"].events
        zero = by_name(live.zeros)["blocks.0.fc2"]
        assert (first == (by_name(moment.operands)["blocks.0.fc2"] > zero).numpy()).all()
        assert all(work.events is None for product, work in frame.works.items()
                   if product.part != Part.FC2)


def test_fatrelu_sends_what_exceeds_its_threshold() -> None:
    """ProSparse: x where x > t, else 0."""
    (frame,) = play("fatrelu", layer(torch.ones(2, 5), [[5, 4, 0, -9, 9]]), threshold=4)
    assert by_name(frame.works)["fc2"].events.tolist() == [[True, False, False, False, True]]


@pytest.mark.parametrize("density", [0.5, 0.6])
def test_teal_reaches_its_density_in_every_layer(density: float) -> None:
    """The paper's 40-50 % sparsity, uniform: within ties of codes."""
    x = torch.randn(64, 256, generator=GENERATOR)
    (frame,) = play("teal", layer(torch.ones(4, 256), x), density=density)
    assert by_name(frame.works)["fc2"].events.mean() == pytest.approx(density, abs=1 / x.numel())


def test_a_greedy_budget_spends_the_same_work_with_less_error(still: Record) -> None:
    (uniform, _), (greedy, _) = (play("teal", still, density=0.5, greedy=value)
                                 for value in (0, 1))

    def lost(frame) -> float:
        total = 0.0
        for product, work in frame.works.items():
            if work.events is not None:
                x = still.frames[0].operands[product].double() - still.zeros.get(product, 0)
                weight = still.real(product)
                part = (x * ~torch.from_numpy(work.events)) @ weight.T
                total += float(part.square().sum() / (x @ weight.T).square().sum())
        return total

    assert greedy.macs == pytest.approx(uniform.macs, rel=0.03)
    assert lost(greedy) < 0.9 * lost(uniform)
    shares = {name: work.events.mean() for name, work in greedy.works.items()
              if work.events is not None}
    assert max(shares.values()) > 0.6 > 0.4 > min(shares.values())


def test_a_greedy_step_goes_where_it_adds_least() -> None:
    """Not where the error is least: every input of one layer adds 5 %, half of the other's 4 %."""
    slightly = torch.arange(20) * 1e-5
    fc1, fc2 = Operator(Part.FC1, 0), Operator(Part.FC2, 0)
    shares = {fc1: [0.05] * 20, fc2: [0.04] * 10 + [0.06] * 10}
    record = Record((Moment({product: (torch.tensor([share]) + slightly).sqrt()
                             for product, share in shares.items()}),),
                    {product: torch.eye(20) for product in shares})
    assert Teal(record, 0.75, 1).budget(0) == pytest.approx({fc1: 1.0, fc2: 0.5})


def test_thresholds_and_lengths_are_charged() -> None:
    """A byte for each input; lengths are multiplied by every element, thresholds are not."""
    record = layer(torch.randn(5, 8, generator=GENERATOR), codes(6, 8))
    for name, macs, size in (("wina", 6 * 8, 8), ("error-budget", 0, 8), ("chess", 0, 0)):
        work = by_name(play(name, record)[0].works)["fc2"]
        assert (work.predictor_macs, work.predictor_bytes) == (macs, size)


def test_r_sparse_weighs_by_the_length_of_a_column() -> None:
    weight = torch.tensor([[1.0, 3.0, 0.1, 2.0], [0.0, 4.0, 0.0, 0.0]])
    (frame,) = play("r-sparse", layer(weight, [[8, 2, 50, -3]]), density=0.5, rank=1)
    assert by_name(frame.works)["fc2"].events.tolist() == [[True, True, False, False]]


def test_a_hidden_layer_has_one_threshold() -> None:
    """Of the layer, not of each channel: CHESS too, as without ``up`` its mean is 1."""
    x = torch.tensor([[1, 10, -30, 4], [2, -20, 30, 3], [-3, 30, 30, 2], [4, 40, -30, 1]])
    record = layer(torch.ones(2, 4), x)
    for name in ("cats", "chess"):
        (frame,) = play(name, record, density=0.5)
        assert by_name(frame.works)["fc2"].events.tolist() == [
            [False, True, True, False], [False, True, True, False],
            [False, True, True, False], [False, True, True, False]]


@pytest.mark.parametrize("density", [0.3, 0.5])
def test_chess_cuts_as_its_authors_do(density: float, still: Record) -> None:
    """With ``up`` of 1 as in an MLP without a gate; only queries and output projections besides.

    The authors take the k-th smallest importance of a layer, ``k`` the share cut of all, and
    divide it by ``mean|up|`` of each channel; keys, values and first layers are dense.
    """
    def smallest(*parts: np.ndarray) -> float:
        values = np.sort(np.concatenate([part.ravel() for part in parts]))
        return values[round((1 - density) * len(values)) - 1]

    seen = {product: still.values(product).abs().numpy() for product in still.products}
    for number, frame in enumerate(play("chess", still, density=density)):
        for product, work in frame.works.items():
            if product.part in (Part.Q, Part.PROJ):
                cut = smallest(seen[product])
            elif product.part == Part.FC2:
                importance = [value * np.ones(value.shape[-1]) for other, value in seen.items()
                              if (other.part, other.layer) == (Part.FC2, product.layer)]
                cut = smallest(*importance) / np.ones(work.depth)
            else:
                assert work.events is None, product
                continue
            x = still.frames[number].operands[product].numpy() - still.zeros.get(product, 0)
            assert (work.events == (np.abs(x) > cut)).all(), product


def test_wina_weighs_by_the_length_of_a_column() -> None:
    weight = torch.tensor([[1.0, 3.0, 0.1, 2.0], [0.0, 4.0, 0.0, 0.0]])
    record = layer(weight, [[8, 2, 50, -3]])
    (wina,), (teal,) = (play(name, record, density=0.5) for name in ("wina", "teal"))
    assert by_name(wina.works)["fc2"].events.tolist() == [[True, True, False, False]]
    assert by_name(teal.works)["fc2"].events.tolist() == [[True, False, True, False]]


def test_a_low_rank_part_carries_what_is_small() -> None:
    """With the full rank nothing is lost; it costs r (K + N) for each row."""
    x, weight = codes(6, 8), torch.randn(5, 8, generator=GENERATOR)
    (frame,) = play("r-sparse", layer(weight, x), density=0.25, rank=2)
    work = by_name(frame.works)["fc2"]
    assert work.events.mean() == pytest.approx(0.25, abs=0.05)
    assert work.predictor_macs == 6 * 2 * (8 + 5)
    assert work.predictor_bytes == 2 * (8 + 5) + 8


def mlp(*hidden) -> Record:
    fc1, fc2 = recognize("fc1"), recognize("fc2")
    return Record(tuple(Moment({fc1: torch.ones(3, 2, dtype=torch.int64),
                                fc2: torch.as_tensor(x)}) for x in hidden),
                  {fc1: torch.ones(4, 2), fc2: torch.ones(2, 4)})


def test_the_core_of_the_first_frame_serves_the_later_ones() -> None:
    """Counts of the largest 50 % of positives: unit 0 three times, 1 once, 2 twice, 3 never."""
    first = [[9, 1, 8, 2], [9, 8, 1, 2], [9, -1, 8, 1]]
    record = mlp(first, codes(3, 4))
    dense, core = play("core-infer", record, token=0.5, kept=0.5)
    assert by_name(dense.works)["fc2"].events is None
    assert by_name(core.works)["fc2"].events.all(0).tolist() == [True, False, True, False]
    assert by_name(core.works)["fc1"].computed.any(0).tolist() == [True, False, True, False]
    assert 2 * core.macs == dense.macs
    assert 2 * core.weight_bytes == dense.weight_bytes
    assert 2 * core.loaded_bytes == dense.loaded_bytes


@pytest.mark.parametrize("budget", [0.05, 0.2, 0.5])
def test_the_budget_holds_and_the_next_level_breaks_it(budget: float) -> None:
    """CETT of the sparsing law: the error of what is cut, relative to the whole."""
    x, weight = codes(20, 30), torch.randn(12, 30, generator=GENERATOR).double()
    record = layer(weight, x)
    (frame,) = play("error-budget", record, budget=budget)
    kept = torch.from_numpy(by_name(frame.works)["fc2"].events)
    tail = ((x.double() * ~kept) @ weight.T).norm(dim=-1)
    assert float((tail / (x.double() @ weight.T).norm(dim=-1)).mean()) <= budget
    rule = ErrorBudget(record, budget)
    cut = rule.cut(x.double(), weight)
    above = (x.double().abs() * weight.norm(dim=0)).flatten().unique()
    following = float(above[above > cut][0])
    assert rule.error(x.double(), weight, following) > budget


def test_load_by_token_by_unit_or_in_total() -> None:
    x = codes(16, 40)
    record = layer(torch.ones(2, 40), x)
    events = {name: by_name(play(name, record, density=0.25)[0].works)["fc2"].events
              for name in ("sae-topk", "feature-choice", "mutual-choice")}
    assert all(mask.sum() == 160 for mask in events.values())
    assert (events["sae-topk"].sum(1) == 10).all()
    assert (events["feature-choice"].sum(0) == 4).all()
    loads = events["mutual-choice"].sum(1)
    assert loads.min() < 10 < loads.max()
    cut = x.abs()[torch.from_numpy(events["mutual-choice"])].min()
    assert x.abs()[torch.from_numpy(~events["mutual-choice"])].max() <= cut


def test_matching_pursuit_finds_orthogonal_units_exactly() -> None:
    """With orthogonal columns the greedy steps are the largest contributions."""
    weight = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    (frame,) = play("matching-pursuit", layer(weight, [[9, 8, 1, 1], [1, 1, 7, -9]]), density=0.5)
    assert by_name(frame.works)["fc2"].events.tolist() == [
        [True, True, False, False], [False, False, True, True]]


def test_rarely_firing_units_fire_more() -> None:
    """AP goes the other way: density rises to the floor, and never falls."""
    x = torch.tensor([[5, -1, -9], [5, -2, 3], [5, -3, -9], [5, -4, -9]])
    record = layer(torch.ones(2, 3), x)
    (relu,), (alive,) = play("relu", record), play("ap", record, alive=0.5)
    assert by_name(relu.works)["fc2"].events.sum(0).tolist() == [4, 0, 1]
    assert by_name(alive.works)["fc2"].events.sum(0).tolist() == [4, 2, 1]
    assert alive.macs > relu.macs


def test_groups_of_hidden_units() -> None:
    (frame,) = play("hidden-groups", layer(torch.ones(2, 6), [[1, 1, 5, 0, 2, 3]]), groups=3, k=2)
    assert by_name(frame.works)["fc2"].events.tolist() == [[False, False, True, True, True, True]]
