"""What is left out because an activation is zero or small."""

from golden.sparsity.catalog.entry import entry, share

MECHANISMS = (
    entry("relu", "activation", "the lazy neuron phenomenon, arXiv 2210.06313", "rtl",
          "multiplications by hidden units that do not fire; their weights if none of a frame does",
          "activation.Relu"),
    entry("teal", "activation", "TEAL, arXiv 2408.14690", "model",
          "multiplications of small elements; columns of weights that no token needs",
          "activation.Teal", density=share(0.5, "share of the elements kept")),
)
