"""What is left out because a weight is zero for good."""

from golden.sparsity.catalog.entry import entry, share
from golden.sparsity.mechanism import Parameter

DENSITY = share(0.5, "share of the weights of the blocks' linear layers that stay")

MECHANISMS = (
    entry("magnitude", "weights", "Han et al., arXiv 1506.02626", "model",
          "multiplications and bytes of pruned weights; costs indices", "weights.Magnitude",
          density=DENSITY),
    entry("n-m", "weights", "2:4, arXiv 2104.08378", "model",
          "multiplications and bytes of all but n of m weights; costs indices of log2 m bits",
          "weights.GroupsOf", n=Parameter(2, 1, 64, "weights kept of a group"),
          m=Parameter(4, 1, 64, "weights of a group")),
)
