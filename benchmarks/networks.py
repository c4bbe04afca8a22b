"""`warmcast bench networks`: effect of the stem and of the memory format on the speed of a U-Net."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measurement import publish_results, shortest_seconds
from models.padding import Globe
from models.unet import UNet
from weather.network_specs import UNetSpec

_CHANNELS = 12


def bench_networks(*, json: Path | None, tiny: bool) -> dict[str, Any]:
    """Time training steps and evaluations on the T31 grid, with and without the stem and channels-last memory.

    `tiny` makes everything small for tests; its results mean nothing.
    """
    grid, widths, batch = ((16, 32), (8, 16), 2) if tiny else ((48, 96), (48, 96, 160), 8)
    designs = {
        "unshuffle stem, channels-last": (2, torch.channels_last),
        "unshuffle stem, contiguous": (2, torch.contiguous_format),
        "no stem, channels-last": (1, torch.channels_last),
    }
    rows: list[dict[str, Any]] = []
    for name, (stem, memory_format) in designs.items():
        net = UNet(UNetSpec(widths=widths, stem=stem), (1,) * _CHANNELS, 2, Globe(*grid, has_poles=False))
        net.to(memory_format=memory_format)  # type: ignore[call-overload] # torch's stub lacks it
        inputs = torch.randn(batch, _CHANNELS, *grid)
        rows.append(
            {
                "design": name,
                "parameters (M)": sum(weight.numel() for weight in net.parameters()) / 1e6,
                "training samples/s": batch / shortest_seconds(partial(_training_step, net, inputs)),
                "evaluations/s": batch / shortest_seconds(partial(_evaluation, net, inputs)),
            }
        )
    chosen, contiguous, bare = (float(row["training samples/s"]) for row in rows)
    ratios = {"stem_ratio": chosen / bare, "channels_last_ratio": chosen / contiguous}
    return publish_results(f"U-Net on {grid[0]} × {grid[1]}, {torch.get_num_threads()} threads", rows, ratios, json)


def _training_step(net: UNet, inputs: Tensor) -> None:
    loss = (net(inputs) - inputs[:, :2]).square().mean()
    torch.autograd.backward(loss)


@torch.inference_mode()
def _evaluation(net: UNet, inputs: Tensor) -> None:
    net(inputs)
