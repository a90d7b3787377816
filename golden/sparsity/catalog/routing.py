"""What is left out because other experts do it."""

from golden.sparsity.catalog.entry import entry, share
from golden.sparsity.mechanism import Parameter

MACS = "multiplications and weights of experts that no token chose"
K = Parameter(2, 1, 4096, "experts of a token")
SEED = Parameter(0, 0, 2**31, "of what is drawn")

MECHANISMS = (
    entry("top-k", "routing", "sparsely-gated MoE, arXiv 1701.06538", "rtl", MACS, "routing.TopK",
          k=Parameter(1, 1, 4096, "experts of a token")),
    entry("dense-to-sparse", "routing", "dense-to-sparse gate, arXiv 2112.14397", "model",
          MACS + "; how many a token chooses varies", "routing.DenseToSparse",
          temperature=Parameter(1.0, 0.01, 100.0, "of the softmax; low is sparse"),
          threshold=share(0.1, "least weight of an expert")),
    entry("smoe-dropout", "routing", "SMoE-Dropout, arXiv 2303.01610", "model",
          MACS + "; k is free at run time", "routing.RandomRouter", k=K, seed=SEED),
    entry("thor", "routing", "THOR, arXiv 2110.04260", "model",
          "all experts but one for each layer and input, known in advance; gates",
          "routing.Thor", seed=SEED),
    entry("task-set", "routing", "SkillNet, arXiv 2203.03312", "model",
          "multiplications and weights of experts outside the task's set, known in advance",
          "routing.TaskSet", experts=Parameter(2, 1, 4096, "experts of the set")),
    entry("mote", "routing", "MoTE, arXiv 2502.11096", "model",
          "multiplications and weights of experts switched off", "routing.Switched",
          without=Parameter(0, 0, 2**31, "bit mask of experts that no token uses"),
          always=Parameter(0, 0, 2**31, "bit mask of experts that every token uses")),
    entry("moe-x", "routing", "MoE-X, arXiv 2503.07639", "model",
          MACS + "; hidden units that do not fire; costs an estimate", "gates.SparseExperts",
          k=K),
    entry("block-ffn", "routing", "BlockFFN, arXiv 2507.08771", "model",
          "multiplications of experts with a negative logit; weights if no token of a chunk has a "
          "positive one", "gates.BlockFfn",
          chunk=Parameter(0, 0, 65536, "tokens that share a read of the weights; 0 is all")),
    entry("mohd", "routing", "MoHD, arXiv 2412.05644", "model",
          "rows and columns of dimensions that a token does not use; costs a router",
          "hidden.HiddenDimensions",
          groups=Parameter(8, 1, 4096, "groups of a token's dimensions"),
          shared=Parameter(2, 0, 4096, "groups that every token uses"),
          k=Parameter(2, 0, 4096, "further groups of a token")),
    entry("jetmoe", "routing", "JetMoE, arXiv 2404.07413; ModuleFormer, arXiv 2306.04640", "model",
          "queries, scores and outputs of heads that a token does not use; costs a router",
          "hidden.RoutedHeads", k=Parameter(1, 1, 4096, "heads of a token")),
    entry("product-keys", "routing", "product keys, arXiv 1907.05242; Monet, arXiv 2412.04139",
          "model",
          MACS + "; most of the gate", "gates.ProductKeys", k=K),
    entry("expert-pruning", "routing", "task-specific expert pruning, arXiv 2206.00277", "rtl",
          "experts that are used little, with their part of the gate", "routing.Pruned",
          experts=Parameter(2, 1, 4096, "experts kept in a layer")),
    entry("m-smoe", "routing", "M-SMoE, arXiv 2310.01334", "model",
          "weights of all but one expert of a group; tokens that chose two of it run once",
          "experts.Merged", groups=Parameter(2, 1, 4096, "experts left in a layer")),
    entry("expert-averaging", "routing", "EWA, arXiv 2308.06093", "model",
          "gates; weights and multiplications of all experts but one", "experts.Averaged"),
    entry("lora-experts", "routing", "LLaVA-MoLE, arXiv 2401.16160", "model",
          "nothing; a small expert beside a dense layer costs", "experts.Lora",
          experts=Parameter(3, 1, 4096, "low-rank experts beside a layer"),
          rank=Parameter(8, 1, 4096, "of an expert")),
    entry("expert-cache", "routing", "local routing consistency, arXiv 2505.16056", "model",
          "weights of experts that are still on the chip", "experts.Cached",
          size=Parameter(4, 1, 4096, "experts of a layer that the chip holds"),
          segment=Parameter(0, 0, 65536, "tokens that share a read of the weights; 0 is all")),
)
