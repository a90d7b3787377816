"""Any file or folder of a float network, made one of ours; and our own file of such a network."""

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.importing import edge_moe
from deltamoe.golden.importing.assembly import Assembled, assemble, checked
from deltamoe.golden.importing.containers import Checkpoint, read
from deltamoe.golden.importing.families import recognize, renamed
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.network_file import SUFFIX, described, write_network
from deltamoe.golden.importing.onnx_network import find
from deltamoe.golden.importing.options import Options
from deltamoe.golden.importing.preprocessing import Preprocessing, sized
from deltamoe.golden.importing.processors import pretrained, processor, read_json
from deltamoe.golden.importing.refusals import GATED, ROTARY
from deltamoe.golden.importing.shards import INDEX, listed_in, ranks, read_ranks, read_shards
from deltamoe.golden.model import M3ViT, build

FORMAT = "deltamoe-float-1"
"""Says in a safetensors file that it is a float network of ours."""

WEIGHT_FILES = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin",
                f"pytorch_model.bin{INDEX}", "model.onnx")
"""What a folder of Hugging Face holds, the one that is preferred first."""

NOTHING = Options()
"""Nothing is said beside the file."""

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh",
               "gelu_fast": "gelu-tanh", "quick_gelu": "quick-gelu", "relu": "relu",
               "silu": "silu", "swish": "silu"}
"""Names of activations in ``config.json``, and ours."""


@dataclass(frozen=True)
class FloatNetwork:
    """A network in floating point, as :class:`deltamoe.golden.model.M3ViT` computes it.

    Attributes
    ----------
    config : ModelConfig
        Its dimensions.
    weights : dict
        By the names of that class, for pixels in 256ths of one.
    preprocessing : Preprocessing, optional
        How a picture becomes those pixels; without one it has the network's size already.
    family : str
        Whose file it came from.
    notes : tuple of str
        What was folded, left out or taken off on the way.
    host : Host, optional
        What follows the tokens and is no head of ours.
    nodes : tuple of (str, str, str)
        Operator, name and reason of every node on the host.
    share : float
        Share of the multiplications on the accelerator.
    """

    config: ModelConfig
    weights: dict[str, Tensor]
    preprocessing: Preprocessing | None = None
    family: str = "DeltaMoE"
    notes: tuple[str, ...] = ()
    host: Host | None = None
    nodes: tuple[tuple[str, str, str], ...] = ()
    share: float = 1.0

    def model(self) -> M3ViT:
        """Return the network."""
        return build(self.config, self.weights)

    def save(self, path: Path) -> None:
        """Write a safetensors file, and what is on the host beside it, whole or not at all."""
        write_network(path, self.weights, FORMAT, self.config, self.preprocessing, self.host)


def load(path: Path, options: Options = NOTHING) -> FloatNetwork:
    """Read a network of another program, or one that :meth:`FloatNetwork.save` wrote.

    Parameters
    ----------
    path : Path
        An ONNX file; a checkpoint of a known family, as a file or as Hugging Face's folder; a
        folder of Edge-MoE; or a float network of ours.
    options : Options
        What the file does not tell.

    Raises
    ------
    FileNotFoundError
        No such path.
    ValueError
        The file is damaged or not understood, or an option is needed; names what is wrong and what
        is allowed.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if own_format(path) == FORMAT:
        return _own(path)
    if edge_moe.is_folder(path):
        return _normalized(assemble(
            edge_moe.read(path), options, name=path.resolve().name, source=str(path),
            activation="gelu", antialias=False), "Edge-MoE", options, path, ())
    if path.is_dir():
        return _folder(path, options)
    if path.suffix == ".onnx":
        return _onnx(path, path.stem, options)
    if index := listed_in(path):
        raise ValueError(f"{path} is one shard of a checkpoint; say the folder of all of them, or "
                         f"{index}")
    return _checkpoint(_tensors(path, options), Path(path.name.removesuffix(INDEX)).stem, options)


def _tensors(path: Path, options: Options) -> Checkpoint:
    """Read a checkpoint in one file, or the shards that an index lists."""
    return (read_shards if path.name.endswith(INDEX) else read)(path, options.container)


def own_format(path: Path) -> str | None:
    """Return the format that a safetensors file of ours says it has; None of any other file."""
    if path.suffix != SUFFIX or not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("format")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from error


def _own(path: Path) -> FloatNetwork:
    with safe_open(path, "pt") as file:
        words = file.metadata()
    try:
        config, preprocessing, host = described(words, path)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a usable network ({error})") from None
    return FloatNetwork(config, checked(load_file(path), config, str(path)), preprocessing,
                        host=host)


def _folder(folder: Path, options: Options) -> FloatNetwork:
    """Read a folder of Hugging Face, whose files say what tensors do not, or of M³ViT's ranks."""
    if ranks(folder):
        return _checkpoint(read_ranks(folder, options.container), folder.resolve().name, options)
    file = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if file is None:
        for file in sorted(folder.iterdir()):
            if index := listed_in(file):
                raise ValueError(f"{folder} lacks {index.name}, which lists {file.name} and other "
                                 "shards; fetch it too")
        raise ValueError(f"{folder} holds neither {' nor '.join(WEIGHT_FILES)} nor Edge-MoE's "
                         f"NAME{edge_moe.SUFFIX} files")
    trained = None
    if (folder / "config.json").is_file():
        fields = read_json(folder / "config.json")
        if isinstance(fields.get("vision_config"), dict):  # of a network for images and texts
            fields = fields["vision_config"]
        options = _with_config(options, fields, folder / "config.json")
        trained = _image_size(fields, folder / "config.json")
    if options.preprocessing is None and (folder / "preprocessor_config.json").is_file():
        path = folder / "preprocessor_config.json"
        options = replace(options, preprocessing=processor(read_json(path), path))
    if options.image is None and options.preprocessing is not None:
        options = replace(options, image=options.preprocessing.size)
    name = folder.resolve().name
    if file.suffix == ".onnx":
        return _onnx(file, name, options)
    return _checkpoint(_tensors(file, options), name, options, trained)


def _image_size(fields: dict, path: Path) -> tuple[int, int] | None:
    """Return height and width of the images that ``config.json`` says, if it does."""
    side = fields.get("image_size")
    sides = [side, side] if type(side) is int else side
    if side is not None and not (isinstance(sides, list) and len(sides) == 2 and all(
            type(each) is int and each > 0 for each in sides)):
        raise ValueError(f"{path}: image_size {side!r} is neither a positive side in pixels nor "
                         "height and width")
    return None if side is None else tuple(sides)


def _with_config(options: Options, fields: dict, path: Path) -> Options:
    """Add to options what ``config.json`` of transformers or of timm says."""
    if "pretrained_cfg" in fields and options.preprocessing is None:
        options = replace(options, preprocessing=pretrained(fields["pretrained_cfg"], path))
    if fields.get("use_swiglu_ffn"):
        raise ValueError(f"{path} says use_swiglu_ffn: {GATED}")
    for key, value in fields.items():
        if key.startswith("rope_") and value:
            raise ValueError(f"{path} says {key}: {ROTARY}")
    activation = fields.get("hidden_act")
    if activation is not None and (
            not isinstance(activation, str) or activation not in ACTIVATIONS):
        raise ValueError(f"{path}: hidden_act {activation!r} is not one of "
                         f"{', '.join(ACTIVATIONS)}")
    return replace(
        options, heads=options.heads or fields.get("num_attention_heads"),
        epsilon=fields.get("layer_norm_eps") if options.epsilon is None else options.epsilon,
        activation=options.activation or ACTIVATIONS.get(activation))


def _onnx(path: Path, name: str, options: Options) -> FloatNetwork:
    return _normalized(find(path, name, options), "ONNX", options, path, ())


def _checkpoint(checkpoint: Checkpoint, name: str, options: Options,
                trained: tuple[int, int] | None = None) -> FloatNetwork:
    family = recognize(checkpoint)
    tensors, notes = renamed(family, checkpoint)
    network = assemble(tensors, options, name=name, source=str(checkpoint.path),
                       activation=family.activation, antialias=family.antialias, trained=trained)
    return _normalized(network, family.name, options, checkpoint.path, (*checkpoint.notes, *notes))


def _normalized(assembled: Assembled, family: str, options: Options, path: Path,
                notes: tuple[str, ...]) -> FloatNetwork:
    """Fold the normalization of pixels into the patch embedding.

    Raises
    ------
    ValueError
        Nothing tells it; or its pictures have another size than the network's images.
    """
    config = assembled.config
    if options.preprocessing is None:
        raise ValueError(f"{path}: nothing tells how its pixels are normalized; say "
                         "--preprocessing imagenet, half, edge-moe or a preprocessor_config.json, "
                         "or --mean and --std")
    size = config.image_height, config.image_width
    try:
        preprocessing = sized(options.preprocessing, size, share=options.crop_share,
                              place=options.pad, color=options.fill)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if preprocessing.size != size:
        raise ValueError(f"{path}: its preprocessing makes pictures of {preprocessing.size}, the "
                         f"network takes {size}; say --image or another --preprocessing")
    names = ("patch_embed.proj.weight", "patch_embed.proj.bias")
    folded = preprocessing.fold(*(assembled.weights[name] for name in names))
    weights = assembled.weights | {name: tensor.float()
                                   for name, tensor in zip(names, folded, strict=True)}
    return FloatNetwork(config, checked(weights, config, str(path)), preprocessing, family,
                        (*notes, *assembled.notes, "mean and std folded into the patch embedding"),
                        assembled.host, assembled.nodes, assembled.share)
