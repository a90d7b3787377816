"""What is left out because an activation is zero or small."""

from deltamoe.golden.sparsity.catalog.entry import entry, share
from deltamoe.golden.sparsity.mechanism import Parameter

DENSITY = share(0.5, "share of the elements kept")
COLUMNS = "; columns of weights that no token needs"
HIDDEN = "multiplications by hidden units left out" + COLUMNS
INPUTS = "multiplications by elements left out" + COLUMNS
SPARSE = share(0.25, "share of the hidden elements kept")
GATED = "on a trace with gated MLPs the threshold cuts act(gate) * up, not act(gate)"
CODES = "thresholds cut codes, in which normalized channels have scales of their own"
UNTRAINED = "the network was not trained with ReLU: what GELU leaves below zero is lost"

MECHANISMS = (
    entry("relu", "activation", "lazy neuron, arXiv 2210.06313", "rtl", HIDDEN,
          "activation.Relu", UNTRAINED),
    entry("fatrelu", "activation", "ProSparse, arXiv 2402.13516", "rtl", HIDDEN,
          "activation.Relu",
          f"{UNTRAINED}; one threshold for all layers",
          threshold=Parameter(4, 0, 255, "code that a hidden element must exceed")),
    entry("cats", "activation", "CATS, arXiv 2404.08763", "rtl",
          HIDDEN + "; the layer that decides is dense", "activation.Cats",
          f"{GATED}, and no column of up is saved",
          calibrated=True, density=DENSITY),
    entry("chess", "activation", "CHESS, arXiv 2409.01366", "model",
          "multiplications by hidden units and by operands of queries and output projections "
          "left out" + COLUMNS, "activation.Chess",
          f"as cats where MLPs are not gated; {GATED}; {CODES}",
          calibrated=True, density=DENSITY),
    entry("teal", "activation", "TEAL, arXiv 2408.14690", "model", INPUTS, "activation.Teal",
          CODES, calibrated=True, density=DENSITY,
          greedy=Parameter(0, 0, 1, "1 for a budget by block, 0 for the same density everywhere")),
    entry("wina", "activation", "WINA, arXiv 2505.19427", "model", INPUTS, "contribution.Wina",
          "the same density in all layers",
          density=DENSITY),
    entry("r-sparse", "activation", "R-Sparse, arXiv 2504.19449", "model",
          INPUTS + "; costs a low-rank product", "contribution.RSparse",
          "the same density and rank in all layers, without a search",
          calibrated=True, density=DENSITY,
          rank=Parameter(4, 1, 4096, "of what replaces the small elements")),
    entry("core-infer", "activation", "CoreInfer, arXiv 2410.18311", "model",
          "both layers of hidden units outside a set fixed on the first frame, weights too",
          "contribution.CoreInfer", remembers=True,
          token=share(0.4, "share of a token's positive hidden elements that are core"),
          kept=share(0.4, "share of the units that run")),
    entry("error-budget", "activation", "CETT of the sparsing law, arXiv 2411.02335",
          "model", HIDDEN, "contribution.ErrorBudget",
          "the error is given, not searched for a change of perplexity (PPL-p%)",
          calibrated=True,
          budget=share(0.2, "mean relative error of a hidden layer's result")),
    entry("hidden-groups", "activation", "MoEfication, arXiv 2110.01786", "model",
          "multiplications by groups of hidden units left out" + COLUMNS, "hidden.HiddenGroups",
          "groups are chosen by their energy, known behind the first layer, in place of a "
          "trained router in front of it",
          groups=Parameter(8, 1, 4096, "groups of a hidden layer"),
          k=Parameter(4, 1, 4096, "groups that a token uses")),
    entry("sae-topk", "activation", "TopK autoencoders, arXiv 2406.04093", "model",
          HIDDEN + "; the same load for each token", "activation.Chosen",
          "the hidden layer in place of a trained autoencoder", density=SPARSE),
    entry("feature-choice", "activation", "feature choice, arXiv 2411.02124", "model",
          HIDDEN + "; the same load for each unit", "activation.FeatureChoice",
          "the hidden layer in place of a trained autoencoder", density=SPARSE),
    entry("mutual-choice", "activation", "mutual choice, arXiv 2411.02124", "model",
          HIDDEN + "; the load is fixed only in total", "activation.MutualChoice",
          "the hidden layer in place of a trained autoencoder",
          density=SPARSE),
    entry("matching-pursuit", "activation", "matching pursuit autoencoders, arXiv 2506.03093",
          "model", HIDDEN + "; costs a dense fit", "contribution.MatchingPursuit",
          "the second layer's columns in place of a trained dictionary; a fixed number of steps",
          density=share(0.25, "greedy steps a token, of the hidden units")),
    entry("ap", "activation", "AP, arXiv 2212.06145", "model",
          "as relu, but less: units that fire rarely fire more", "contribution.Alive",
          "AP trains while it prunes; the lower thresholds at inference are not its own",
          calibrated=True,
          alive=share(0.1, "least share of the tokens for which a unit fires")),
)
