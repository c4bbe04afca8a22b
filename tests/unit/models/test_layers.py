import math
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from models.layers import Attention, GridConv, ResidualBlock, ScalarEmbedding


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@torch.inference_mode()
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_equals_a_sum_over_neighbours_that_wraps_around_in_longitude(stride: int) -> None:
    conv, x = GridConv(3, 2, stride), torch.randn(2, 3, 4, 6)
    weight, bias = conv.conv.weight, conv.conv.bias
    assert bias is not None
    expected = bias[:, None, None].expand(2, 2, 4, 6).clone()
    for row in range(4):
        for column in range(6):
            for i in (-1, 0, 1):
                for j in (-1, 0, 1):
                    if 0 <= row + i < 4:
                        neighbours = x[:, :, row + i, (column + j) % 6]
                        expected[:, :, row, column] += neighbours @ weight[:, :, i + 1, j + 1].T
    torch.testing.assert_close(conv(x), expected[:, :, ::stride, ::stride], rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("split", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_contributions_of_the_input_channels_sum_to_the_convolution(split: int, stride: int) -> None:
    conv, x = GridConv(5, 3, stride), torch.randn(2, 5, 4, 8)
    parts = conv.contribution(x[:, :split], 0) + conv.contribution(x[:, split:], split)
    torch.testing.assert_close(parts, conv(x), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_contribution_of_the_last_channels_alone_includes_the_bias() -> None:
    conv, nothing = GridConv(5, 3), torch.zeros(1, 2, 4, 8)
    assert conv.conv.bias is not None
    assert not conv.contribution(nothing, 0).any()
    assert torch.equal(conv.contribution(nothing, 3)[0, :, 2, 2], conv.conv.bias)


@torch.inference_mode()
def test_a_convolution_with_zeroed_parameters_returns_zeros() -> None:
    conv = GridConv(3, 2)
    conv.zero_parameters()
    assert not conv(torch.randn(1, 3, 4, 8)).any()


@torch.inference_mode()
def test_an_embedding_is_its_formula() -> None:
    embedding = ScalarEmbedding(16, num_frequencies=4)
    values = torch.tensor([0.0, 0.3, 1.0])
    frequencies = [math.exp(-math.log(1e4) * k / 4) for k in range(4)]
    assert frequencies == pytest.approx([1, 0.1, 0.01, 0.001])
    sinusoids = torch.tensor(
        [[math.cos(f * v) for f in frequencies] + [math.sin(f * v) for f in frequencies] for v in values.tolist()]
    )
    torch.testing.assert_close(embedding(values), embedding.mlp(sinusoids))


@torch.inference_mode()
def test_embeddings_of_different_values_differ_over_the_whole_range() -> None:
    embedded = ScalarEmbedding(16)(torch.linspace(0, 1, 21))
    assert embedded.shape == (21, 16)
    assert float((embedded[1:] - embedded[:-1]).abs().amax(dim=1).min()) > 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("width", [0, 16])
def test_a_new_block_is_its_skip_connection(width: int) -> None:
    x = torch.randn(2, 8, 4, 8)
    embedding = torch.randn(2, width) if width else None
    assert torch.equal(ResidualBlock(8, 8, width)(x, embedding), x)
    wider = ResidualBlock(8, 16, width)
    assert torch.equal(wider(x, embedding), wider.skip(x))


def _perturb(block: ResidualBlock) -> ResidualBlock:
    for weight in block.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return block


@torch.inference_mode()
def test_a_block_is_two_normalised_convolutions_scaled_and_shifted_by_the_embedding() -> None:
    block, x, embedding = _perturb(ResidualBlock(8, 16, 4)), torch.randn(2, 8, 4, 8), torch.randn(2, 4)
    assert block.modulation is not None
    h = block.conv_in(F.silu(F.group_norm(x, 8, block.norm_in.weight, block.norm_in.bias)))
    h = F.group_norm(h, 8, block.norm_out.weight, block.norm_out.bias)
    modulation = F.silu(embedding) @ block.modulation.weight.T + block.modulation.bias
    for member in range(2):
        for channel in range(16):
            h[member, channel] *= 1 + modulation[member, channel]
            h[member, channel] += modulation[member, 16 + channel]
    torch.testing.assert_close(block(x, embedding), block.skip(x) + block.conv_out(F.silu(h)))


@torch.inference_mode()
def test_one_embedding_modulates_all_members_alike() -> None:
    block, x, embedding = _perturb(ResidualBlock(8, 8, 4)), torch.randn(3, 8, 4, 8), torch.randn(1, 4)
    torch.testing.assert_close(block(x, embedding), block(x, embedding.expand(3, 4)))


@torch.inference_mode()
def test_a_block_is_independent_of_other_members_and_of_the_origin_of_longitude() -> None:
    block, x = _perturb(ResidualBlock(8, 8)), torch.randn(3, 8, 4, 8)
    together = block(x, None)
    torch.testing.assert_close(block(x[1:2], None), together[1:2])
    torch.testing.assert_close(block(x.roll(3, -1), None), together.roll(3, -1))


@torch.inference_mode()
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_that_is_not_periodic_is_zero_padded_on_all_sides(stride: int) -> None:
    conv, x = GridConv(3, 2, stride, periodic=False), torch.randn(2, 3, 4, 6)
    expected = F.conv2d(x, conv.conv.weight, conv.conv.bias, stride, padding=1)
    torch.testing.assert_close(conv(x), expected)
    first, rest = conv.contribution(x[:, :1], 0), conv.contribution(x[:, 1:], 1)
    torch.testing.assert_close(first + rest, expected)


@torch.inference_mode()
@pytest.mark.parametrize("norm_groups", [None, 2])
def test_attention_is_that_of_each_head_added_to_its_input(norm_groups: int | None) -> None:
    attention, x = Attention(8, 2, norm_groups), torch.randn(2, 8, 3, 4)
    assert torch.equal(attention(x), x)
    for weight in attention.parameters():
        weight.add_(0.3 * torch.randn(weight.shape))
    points = attention.norm(x).flatten(2).mT
    query, key, value = attention.project(points).chunk(3, dim=2)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (query[..., head] @ key[..., head].mT / 2).softmax(dim=-1)
        heads.append(weights @ value[..., head])
    expected = x + attention.output(torch.cat(heads, dim=2)).mT.reshape(x.shape)
    torch.testing.assert_close(attention(x), expected)
