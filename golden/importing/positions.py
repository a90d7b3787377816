"""Positions of all tokens, of images of another size too, and the tokens before the patches."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from deltamoe.golden.importing.bounds import MOST
from deltamoe.golden.importing.options import Options
from deltamoe.golden.importing.parts import Parts

PREFIX_TOKENS = ("cls_token", "dist_token", "reg_token")
"""Tokens before the patches, in order."""


def positions(parts: Parts, options: Options, trained: tuple[int, int] | None, dim: int,
              patch: int, antialias: bool, notes: list[str]
              ) -> tuple[Tensor, tuple[int, int], int]:
    """Return positions of all tokens, height and width of an image, and its tokens before patches.

    Tokens before the patches are a part of their positions, as in a network that is read from an
    ONNX file: their sum is rounded to float32 once, which is what the network itself does.

    Parameters
    ----------
    parts : Parts
        What is left of the tensors; positions and tokens before the patches are taken out.
    options : Options
        May say the image's size, to which positions (1, tokens, ``dim``) are interpolated.
    trained : tuple of int, optional
        Height and width of the images that the positions are of; else these are square.
    dim, patch : int
        Width of a token, and side of a patch in pixels.
    antialias : bool
        Whether positions are averaged where they shrink.
    notes : list of str
        Gets a line if they are interpolated.

    Raises
    ------
    ValueError
        A tensor is missing or misshapen, or the image's size has to be said.
    """
    before = [(name, token) for name in PREFIX_TOKENS
              if (token := parts.find(name)) is not None]
    for name, token in before:
        if token.numel() % dim:
            raise ValueError(f"{parts.source}: tensor {name} has shape {tuple(token.shape)}, not "
                             f"(1, 1, {dim})")
    prefix = torch.cat([token.reshape(1, -1, dim) for _, token in before]
                       or [torch.zeros(1, 0, dim)], 1)
    stored = parts.take("pos_embed")
    if stored.shape[-1:] != (dim,):
        raise ValueError(f"{parts.source}: tensor pos_embed has shape {tuple(stored.shape)}, not "
                         f"(1, tokens, {dim})")
    stored = stored.reshape(-1, dim)
    plain = sum(token.numel() // dim for name, token in before if name != "reg_token")
    counts = sorted({prefix.shape[1], plain, min(1, plain), 0}, reverse=True)
    image_size = trained or options.image
    exact = image_size[0] // patch * (image_size[1] // patch) if image_size else None
    known = next((count for count in counts if len(stored) - count == exact), None)
    if known is not None:
        grid = image_size[0] // patch, image_size[1] // patch
    else:
        known = next((count for count in counts
                      if math.isqrt(max(0, len(stored) - count)) ** 2 == len(stored) - count > 0),
                     None)
        if known is None:
            raise ValueError(f"{parts.source}: its {len(stored)} positions, {counts[0]} of tokens "
                             "before the patches, are of no square image; say --image HEIGHTxWIDTH")
        side = math.isqrt(len(stored) - known)
        grid = side, side
    image = options.image or (grid[0] * patch, grid[1] * patch)
    for side in image:
        if side % patch:
            raise ValueError(f"{parts.source}: an image of {image[0]}x{image[1]} is no multiple of "
                             f"its patches of {patch}")
    size = image[0] // patch, image[1] // patch
    if size[0] * size[1] > MOST["num_tokens"]:
        raise ValueError(f"{parts.source}: an image of {image[0]}x{image[1]} has more than "
                         f"{MOST['num_tokens']} patches of {patch}x{patch}")
    patches = stored[known:]
    if size != grid:
        notes.append(f"positions of {grid[0]}x{grid[1]} patches interpolated to "
                     f"{size[0]}x{size[1]}")
        plane = patches.T.reshape(1, dim, *grid).float()
        patches = functional.interpolate(plane, size=size, mode="bicubic", align_corners=False,
                                         antialias=antialias).reshape(dim, -1).T
    before_patches = torch.cat([stored[:known], torch.zeros(prefix.shape[1] - known, dim)])
    rows = torch.cat([before_patches.float() + prefix[0].float(), patches])
    return rows[None], image, prefix.shape[1]
