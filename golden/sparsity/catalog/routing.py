"""What is left out because other experts do it."""

from deltamoe.golden.sparsity.catalog.entry import entry, share
from deltamoe.golden.sparsity.mechanism import Parameter

MACS = "multiplications and weights of experts that no token chose"
K = Parameter(2, 1, 4096, "experts of a token")
SEED = Parameter(0, 0, 2**31, "of what is drawn")

MECHANISMS = (
    entry("top-k", "routing", "sparsely-gated MoE, arXiv 1701.06538", "rtl", MACS, "routing.TopK",
          k=Parameter(1, 1, 4096, "experts of a token")),
    entry("dense-to-sparse", "routing", "dense-to-sparse gate, arXiv 2112.14397; activation "
          "gate, arXiv 2401.13875", "model",
          MACS + "; how many a token chooses varies", "routing.DenseToSparse",
          temperature=Parameter(1.0, 0.01, 100.0, "of the softmax; low is sparse"),
          threshold=share(0.1, "least weight of an expert"),
          act=Parameter(0, 0, 1, "1 if logits pass a sigmoid first, 0 if not")),
    entry("smoe-dropout", "routing", "SMoE-Dropout, arXiv 2303.01610", "model",
          MACS + "; k is free at run time", "routing.RandomRouter",
          "the experts were trained with another router", k=K, seed=SEED),
    entry("thor", "routing", "THOR, arXiv 2110.04260", "model",
          "all experts but one for each layer and input, known in advance; gates",
          "routing.Thor",
          "the experts were not trained to replace each other", seed=SEED),
    entry("task-set", "routing", "SkillNet, arXiv 2203.03312", "model",
          "multiplications and weights of experts outside the task's set, known in advance; gates",
          "routing.TaskSet",
          "the experts that the task used most in place of skills that people name; they were "
          "trained with a gate",
          calibrated=True, experts=Parameter(2, 1, 4096, "experts of the set")),
    entry("mote", "routing", "MoTE, arXiv 2502.11096", "model",
          "multiplications and weights of experts switched off", "routing.Switched",
          "experts are named by hand, not found by their reaction to prompts",
          without=Parameter(1, 0, 2**31, "bit mask of experts that no token uses"),
          always=Parameter(0, 0, 2**31, "bit mask of experts that every token uses"),
          layers=Parameter(0, 0, 2**31, "bit mask of blocks that both are for; 0 is all")),
    entry("moe-x", "routing", "MoE-X, arXiv 2503.07639", "model",
          MACS + "; hidden units that do not fire; costs an estimate", "gates.SparseExperts",
          "the chosen experts keep the weights of the network's gate, not those of their sparsity; "
          "the network was not trained with ReLU",
          k=K),
    entry("block-ffn", "routing", "BlockFFN, arXiv 2507.08771", "model",
          "multiplications of experts with a negative logit; weights if no token of a chunk has a "
          "positive one", "gates.BlockFfn",
          "signs of logits that were trained for a softmax; weights saturate at 1, on the presets "
          "48 to 57 % of them",
          chunk=Parameter(0, 0, 65536, "tokens that share a read of the weights; 0 is all")),
    entry("mohd", "routing", "MoHD, arXiv 2412.05644", "model",
          "rows and columns of dimensions that a token does not use; costs a router",
          "hidden.HiddenDimensions",
          "the router is the energy of a group in the block's first operand, in place of a "
          "trained one; what is kept is neither scaled nor fused",
          groups=Parameter(8, 1, 4096, "groups of a token's dimensions"),
          shared=Parameter(2, 0, 4096, "groups that every token uses"),
          k=Parameter(2, 0, 4096, "further groups of a token")),
    entry("jetmoe", "routing", "JetMoE, arXiv 2404.07413; ModuleFormer, arXiv 2306.04640", "model",
          "queries, scores and outputs of heads that a token does not use; costs a router",
          "hidden.RoutedHeads",
          "the router is the energy of a head's query, which only a dense product knows, in "
          "place of a trained one; no stick-breaking attention (ModuleFormer)",
          k=Parameter(1, 1, 4096, "heads of a token")),
    entry("product-keys", "routing", "product keys, arXiv 1907.05242; Monet, arXiv 2412.04139",
          "model",
          MACS + "; most of the gate", "gates.ProductKeys",
          "keys are a least-squares fit of the network's logits, in place of trained ones; only "
          "the gate is decomposed, not the experts (Monet)", k=K),
    entry("expert-pruning", "routing", "task-specific expert pruning, arXiv 2206.00277", "rtl",
          "experts that are used little, with their part of the gate", "routing.Pruned",
          "at once, to the number given, without the fine-tuning during which the authors prune",
          calibrated=True,
          experts=Parameter(2, 1, 4096, "experts kept in a layer")),
    entry("m-smoe", "routing", "M-SMoE, arXiv 2310.01334", "model",
          "weights of all but one expert of a group; tokens that chose two of it run once",
          "experts.Merged",
          "merged experts are not fine-tuned, nor compressed afterwards (low-rank-sparse)",
          calibrated=True,
          groups=Parameter(2, 1, 4096, "experts left, for each layer on average")),
    entry("expert-averaging", "routing", "EWA, arXiv 2308.06093", "model",
          "gates; weights and multiplications of all experts but one", "experts.Averaged",
          calibrated=True),
    entry("lora-experts", "routing", "LLaVA-MoLE, arXiv 2401.16160", "model",
          "nothing; a small expert beside a dense layer costs", "experts.Lora",
          "cost only: low-rank experts are zero, and a random router chooses them",
          experts=Parameter(3, 1, 4096, "low-rank experts beside a layer"),
          rank=Parameter(8, 1, 4096, "of an expert")),
    entry("expert-cache", "routing", "local routing consistency, arXiv 2505.16056", "model",
          "weights of experts that are still on the chip", "experts.Cached",
          "a cache that drops the last recently used, in place of the paper's, which looks ahead",
          remembers=True,
          size=Parameter(4, 1, 4096, "experts of a layer that the chip holds"),
          segment=Parameter(0, 0, 65536, "tokens that share a read of the weights; 0 is all")),
)
