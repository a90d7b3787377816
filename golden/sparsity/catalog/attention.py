"""What is left out because a query does not attend to it."""

from deltamoe.golden.sparsity.catalog.entry import entry, share
from deltamoe.golden.sparsity.mechanism import Parameter

DENSITY = share(0.25, "share of the keys of each query")
PAIRS = "multiplications of query-key pairs"
WINDOW = Parameter(8, 1, 65536, "last queries that decide")
BLOCK = Parameter(16, 1, 65536, "tokens of a block")
IMAGE = "no causal mask and no decoding"
CORNER = f"{IMAGE}; the last queries of an image are its last patches, not a question"

MECHANISMS = (
    entry("sparsifiner", "attention", "Sparsifiner, arXiv 2303.13755", "model",
          PAIRS + "; costs a low-rank predictor", "sparsifiner.TopPairs",
          "the predictor is fitted to a frame's queries, keys and attention, in place of training",
          calibrated=True, density=DENSITY,
          rank=Parameter(8, 1, 1024, "dimensions of the predictor's queries and keys"),
          block=Parameter(8, 1, 65536, "tokens for each row of the predictor's basis"),
          top=Parameter(8, 1, 65536, "rows of the basis that a query adds up")),
    entry("flex-prefill", "attention", "FlexPrefill, arXiv 2502.20766", "model",
          PAIRS + " by blocks or lines of a head; costs the last queries' scores and means",
          "attention_blocks.FlexPrefill", CORNER,
          gamma=share(0.9, "share of the attention to be held"),
          tau=share(0.1, "largest divergence at which blocks are trusted"),
          block=BLOCK, least=Parameter(1, 1, 4096, "blocks that always stay")),
    entry("vertical-slash", "attention", "MInference, arXiv 2407.02490; the Sparse Frontier, "
          "arXiv 2504.17768", "model",
          PAIRS + " outside columns and diagonals of a head; costs the last queries' scores",
          "attention_blocks.VerticalSlash", CORNER, vertical=share(0.125, "share of the keys"),
          slash=share(0.125, "share of the distances"), window=WINDOW),
    entry("block-sparse", "attention", "the Sparse Frontier, arXiv 2504.17768", "model",
          PAIRS + " by blocks; costs the product of means", "attention_blocks.Blocks", IMAGE,
          density=share(0.25, "share of the blocks of keys"), block=BLOCK),
    entry("quest", "attention", "Quest, arXiv 2406.10774", "model",
          PAIRS + " by pages of keys; costs the bounds", "attention.Pages",
          f"{IMAGE}: each query chooses pages for itself, as a decoded token does", density=DENSITY,
          page=Parameter(16, 1, 65536, "keys of a page")),
    entry("snap-kv", "attention", "SnapKV, arXiv 2404.14469; Ada-KV, arXiv 2407.11550",
          "model",
          PAIRS + " with keys that a head drops; costs the last queries' scores",
          "attention.SnapKv",
          f"{CORNER}; votes are not pooled over neighbors", density=DENSITY, window=WINDOW,
          adaptive=Parameter(0, 0, 1, "1 if heads share their budget, 0 if each has its own")),
    entry("s2", "attention", "S2-Attention, arXiv 2407.17678", "model",
          PAIRS + " outside each head's shard of the keys", "attention.Shards",
          block=Parameter(1, 1, 65536, "tokens of a block of a shard"),
          local=Parameter(1, 0, 65536, "neighbors on each side that a query attends to")),
    entry("token-pruning", "attention", "EViT, arXiv 2202.07800; LeMo, arXiv 2501.09767", "model",
          "all rows of tokens that got little attention, from a layer on",
          "attention.DroppedTokens",
          "attention from all tokens, as LeMo, not from the class token alone; what is dropped is "
          "not fused into one token (EViT), nor foretold by a predictor (LeMo)",
          kept=share(0.7, "share of the tokens that a block keeps"),
          first=Parameter(3, 1, 4096, "first block that drops tokens"),
          every=Parameter(3, 1, 4096, "blocks from one that drops tokens to the next")),
)
