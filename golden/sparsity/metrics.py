"""How alike the routing of neighboring tokens is, and what a chunk of tokens needs; no torch."""

import numpy as np


def union_density(density: float, tokens: int) -> float:
    """Return the share of columns that at least one of so many independent tokens needs.

    ``1 - (1 - density)**tokens``; tokens that are alike need less.
    """
    return 1 - (1 - density) ** tokens


def token_sparsity(member: np.ndarray) -> float:
    """Return the share of experts that a token leaves out, ``member`` (T, E) bool (BlockFFN)."""
    return float(1 - member.mean())


def chunk_sparsity(member: np.ndarray, length: int) -> float:
    """Return the share of experts that no token of a chunk needs, mean over chunks (BlockFFN).

    A last chunk that is shorter is left out.

    Raises
    ------
    ValueError
        There are fewer tokens than a chunk has.
    """
    tokens, experts = member.shape
    if not 1 <= length <= tokens:
        raise ValueError(f"length={length} is not in 1..{tokens} tokens")
    whole = tokens // length
    return float(1 - member[: whole * length].reshape(whole, length, experts).any(1).mean())


def segment_routing(member: np.ndarray, length: int) -> float:
    """Return the segment routing best performance (SRP), arXiv 2505.16056.

    A segment router uses, for all ``length`` tokens from each start, every expert that at least
    ``t`` of them chose; this is the F1 score against the tokens' own choice, of all segments and
    experts together, for the best ``t``.

    Parameters
    ----------
    member : ndarray
        (T, E) bool.
    length : int
        Tokens of a segment, 1..T.

    Raises
    ------
    ValueError
        There are fewer tokens than a segment has, or none chose an expert.
    """
    tokens = len(member)
    if not 1 <= length <= tokens or not member.any():
        raise ValueError(f"length={length} is not in 1..{tokens} tokens, or no expert is chosen")
    total = np.cumsum(np.vstack([np.zeros_like(member[:1]), member]).astype(np.int64), 0)
    chosen = total[length:] - total[:-length]                   # (T - length + 1, E)
    scores = [2 * chosen[chosen >= least].sum()
              / (length * (chosen >= least).sum() + chosen.sum())
              for least in range(1, int(chosen.max()) + 1)]
    return float(max(scores))


def cache_hits(member: np.ndarray, size: int, ahead: int) -> float:
    """Return the segment cache best hit rate (SCH), arXiv 2505.16056.

    The cache holds ``size`` experts. Each token loads those that it lacks, and those that the next
    ``ahead`` tokens choose least often make room; of equal ones the lowest number.

    Parameters
    ----------
    member : ndarray
        (T, E) bool.
    size : int
        At least what a token chooses.
    ahead : int
        At least 1.

    Raises
    ------
    ValueError
        A token does not fit the cache, or there is nothing to choose or to look at.
    """
    most = int(member.sum(1).max(initial=0))
    if most < 1 or size < most or ahead < 1:
        raise ValueError(f"size={size} is below the {most} experts of a token, or ahead={ahead} "
                         "is below 1, or no expert is chosen")
    cache: set[int] = set()
    hits = 0
    for token, row in enumerate(member):
        needed = set(np.flatnonzero(row).tolist())
        hits += len(needed & cache)
        coming = member[token + 1:token + 1 + ahead].sum(0)
        spare = sorted(cache - needed, key=lambda expert: (coming[expert], expert))
        cache |= needed
        cache -= set(spare[: max(0, len(cache) - size)])
    return hits / int(member.sum())
