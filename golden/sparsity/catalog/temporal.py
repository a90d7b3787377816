"""What is left out because it did not change."""

from deltamoe.golden.sparsity.catalog.entry import entry, share
from deltamoe.golden.sparsity.mechanism import Parameter

THETA = Parameter(0, 0, 255, "largest difference, in codes, that is not sent")

MECHANISMS = (
    entry("dense", "temporal", "the reference: nothing is skipped", "rtl", "nothing",
          "temporal.Dense"),
    entry("zero-skip", "temporal", "NullHop, arXiv 1706.01406", "rtl",
          "multiplications by zero; weights of columns that are zero in all rows",
          "temporal.ZeroSkip"),
    entry("delta", "temporal", "delta networks, arXiv 1612.05571", "rtl",
          "multiplications of elements that changed by at most theta; costs state",
          "temporal.Delta", "the attention's two products skip zeros only",
          remembers=True, theta=THETA),
    entry("token-gate", "temporal", "Eventful Transformers, arXiv 2308.13494", "rtl",
          "multiplications of tokens of which no element changed by more than theta; costs state",
          "temporal.TokenGate", remembers=True, theta=THETA),
    entry("eventful", "temporal", "Eventful Transformers, arXiv 2308.13494", "model",
          "as token-gate, and attention of unchanged tokens below half of them; costs scores as "
          "state", "temporal.Eventful", remembers=True, theta=THETA),
    entry("dal", "temporal", "delta activation layer, arXiv 2107.07305", "model",
          "multiplications of elements that round to the same multiple of a step; costs state",
          "temporal.ActivationDelta",
          "one step for all layers, in place of trained ones; the attention's two products skip "
          "zeros only", remembers=True,
          step=Parameter(4, 1, 128, "step to whose multiples codes are rounded")),
    entry("token-activity", "temporal", "SeqBoat (SMA), arXiv 2306.11197", "model",
          "attention and its projections of inactive tokens; costs a router",
          "temporal.TokenActivity",
          "the router is the length of a token's row, in place of a trained one; a fixed "
          "share of the tokens, in place of a probability above 1/2; no state-space layer and no "
          "local attention",
          active=share(0.5, "share of tokens that attend")),
)
