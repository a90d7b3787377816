"""One thread: the operands are small and two cores are shared."""

import torch

torch.set_num_threads(1)
