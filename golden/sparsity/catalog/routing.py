"""What is left out because other experts do it."""

from golden.sparsity.catalog.entry import entry
from golden.sparsity.mechanism import Parameter

MECHANISMS = (
    entry("top-k", "routing", "sparsely-gated MoE, arXiv 1701.06538", "rtl",
          "multiplications of experts not chosen; weights of experts that no token chose",
          "routing.TopK", k=Parameter(1, 1, 64, "experts of a token")),
)
