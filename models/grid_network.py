"""The interface of the networks: they map fields to fields on one grid, and take constant inputs precomputed."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.padding import Geometry, PadAndCrop
from models.shapes import Embedding


class FixedInputs(NamedTuple):
    """The contributions of input channels that are constant over several evaluations to first and last convolution.

    `head` is None for a network whose last convolution does not take the inputs.
    """

    stem: Tensor
    head: Tensor | None


class GridNetwork(nn.Module):
    """Map fields to fields on one grid, for any number of members.

    `in_signs` holds −1 for each input channel that is a vector component (it changes sign across a pole), else 1.
    The output layer is initialised to zero. On the globe, rolling all inputs by the total stride of the network rolls
    the output by as many columns. `embedding_width` is the width of the embedding that it takes, 0 for none, and
    `num_frequencies` the number of sinusoids of each embedded scalar.
    With `recompute` set, training keeps the input of each block only and computes the block again for its gradient,
    which takes less memory and about a third more time.
    """

    signs: Tensor

    def __init__(
        self,
        in_signs: tuple[int, ...],
        geometry: Geometry,
        stride: int,
        margin: int,
        embedding_width: int,
        num_frequencies: int,
    ) -> None:
        super().__init__()
        self.padding: PadAndCrop = geometry.padding(stride, margin)
        self.register_buffer("signs", torch.tensor(in_signs, dtype=torch.float32)[:, None, None], persistent=False)
        self.embedding_width, self.num_frequencies = embedding_width, num_frequencies
        self.recompute = False

    @abstractmethod
    def forward(
        self,
        inputs: Float[Tensor, "member in_channel lat lon"],
        embedding: Embedding | None = None,
        fixed: FixedInputs | None = None,
    ) -> Float[Tensor, "member out_channel lat lon"]:
        """Return the network's output.

        `embedding` is required if and only if `embedding_width` is not 0. With `fixed`, the result of `precompute` for
        the last input channels, `inputs` holds only the channels before those.
        """

    @abstractmethod
    def precompute(self, inputs: Float[Tensor, "member in_channel lat lon"]) -> FixedInputs:
        """Return what the last input channels contribute, so that evaluations that share them compute it once.

        The output changes by rounding only.
        """

    @property
    @abstractmethod
    def input_weights(self) -> Mapping[str, tuple[int, int]]:
        """Each weight that multiplies the input channels, by its name in the state.

        Along its second dimension it has some channels that are no inputs, whose number comes first, and then a number
        of channels for each input in turn.
        """

    def pad(self, inputs: Float[Tensor, "member in_channel lat lon"], first: int = 0) -> Tensor:
        """Return the input channels from index `first` on with the rows that the geometry adds, channels last."""
        padded: Tensor = self.padding(inputs, self.signs[first : first + inputs.shape[1]])
        return padded.contiguous(memory_format=torch.channels_last)

    def apply_block(self, block: nn.Module, h: Tensor, embedding: Tensor | None) -> Tensor:
        """Return `block(h, embedding)`, with `recompute` keeping its arguments only for the gradient."""
        if self.recompute and torch.is_grad_enabled():
            output: Tensor = checkpoint(block, h, embedding, use_reentrant=False)
            return output
        result: Tensor = block(h, embedding)
        return result
