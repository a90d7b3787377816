"""What is left out because a weight is zero for good."""

from deltamoe.golden.sparsity.catalog.entry import entry, share
from deltamoe.golden.sparsity.mechanism import Parameter

DENSITY = share(0.5, "share of the weights of the blocks' linear layers that stay")
PRUNED = "multiplications and bytes of pruned weights; costs indices"
ONCE = "pruned once, without training afterwards"

MECHANISMS = (
    entry("magnitude", "weights", "Han et al., arXiv 1506.02626", "model", PRUNED,
          "weights.Magnitude", ONCE, density=DENSITY),
    entry("essential", "weights", "essential sparsity, arXiv 2306.03805", "model", PRUNED,
          "weights.Essential", density=DENSITY),
    entry("random", "weights", "random pruning, arXiv 2202.02643", "model", PRUNED,
          "weights.RandomMask", ONCE, density=DENSITY,
          erk=Parameter(0, 0, 1, "1 for ratios by layer (Erdos-Renyi), 0 for uniform"),
          seed=Parameter(0, 0, 2**31, "of the mask")),
    entry("wanda", "weights", "Wanda, arXiv 2306.11695", "model", PRUNED, "compression.Wanda",
          calibrated=True,
          density=DENSITY),
    entry("dsnot", "weights", "DSnoT, arXiv 2310.08915", "model", PRUNED,
          "compression.DynamicSparse",
          "the inputs' variance is that of codes, in which normalized channels have scales of "
          "their own",
          calibrated=True, density=DENSITY),
    entry("n-m", "weights", "2:4, arXiv 2104.08378", "model",
          "multiplications and bytes of all but n of m weights; costs indices of log2 m bits",
          "weights.GroupsOf", ONCE, n=Parameter(2, 1, 64, "weights kept of a group"),
          m=Parameter(4, 2, 64, "weights of a group")),
    entry("low-rank-sparse", "weights", "MC-SMoE, arXiv 2310.01334", "model",
          "rows of what a low-rank product leaves; costs that product",
          "compression.LowRankSparse",
          "nothing is fine-tuned, and experts are not merged before (m-smoe)",
          rank=Parameter(4, 1, 4096, "of the dense part"),
          density=share(0.25, "share of the rows that stay beside it")),
    entry("sparse-ift", "weights", "Sparse-IFT, arXiv 2303.11525", "model",
          "nothing: wider layers at the same multiplications; costs indices",
          "compression.Widened",
          "cost only: the wider network is not at hand; the hidden width is the only one wider",
          factor=Parameter(2, 1, 64, "hidden width over the dense one")),
    entry("low-bit", "weights", "EAQuant, arXiv 2506.13329", "model",
          "bytes of weights of fewer bits", "compression.LowBit",
          "rounding of weights alone, without smoothing and alignment of the router's logits; "
          "activations and multiplications stay at 8 bits",
          bits=Parameter(4, 2, 8, "of a weight")),
)
