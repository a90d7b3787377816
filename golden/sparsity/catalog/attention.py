"""What is left out because a query does not attend to it."""

from golden.sparsity.catalog.entry import entry, share
from golden.sparsity.mechanism import Parameter

MECHANISMS = (
    entry("sparsifiner", "attention", "Sparsifiner, arXiv 2303.13755", "model",
          "multiplications of query-key pairs; costs a low-rank predictor", "attention.TopPairs",
          density=share(0.25, "share of the keys of each query"),
          rank=Parameter(8, 1, 1024, "rank of the predictor")),
)
