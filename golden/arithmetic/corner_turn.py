"""Token-major to dimension-major order."""

from torch import Tensor
from torch.nn.functional import pad


def corner_turn(values: Tensor, word: int) -> Tensor:
    """Transpose blocks of ``word`` tokens; the last block is padded with zero tokens.

    Parameters
    ----------
    values : Tensor
        (T, D) integers.
    word : int
        Elements of one on-chip word.

    Returns
    -------
    Tensor
        (blocks * D, word): for each block, for each dimension, the block's tokens.
    """
    tokens, dim = values.shape
    blocks = -(-tokens // word)
    padded = pad(values, (0, 0, 0, blocks * word - tokens))
    return padded.view(blocks, word, dim).mT.reshape(blocks * dim, word)
