"""Peers of the engine: its network evaluations alone, and a straightforward rollout in plain PyTorch."""

import itertools
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from diagnostics.live import diagnose_lead_time, mean_spectra
from models.execution import Execution
from models.networks import Networks
from models.noise import white_noise
from models.warm_start import blend_scale, restore
from weather.features import feature_fields

INIT_TIME = np.datetime64("2018-09-15T00", "s")


class BareEvaluations:
    """Evaluations of both networks on fixed inputs, as the engine makes them, without any other work.

    As in the engine, the layers whose input is the same for all evaluations of a step are evaluated once per step.
    """

    def __init__(self, networks: Networks, execution: Execution, group_size: int) -> None:
        device = torch.device("cpu")
        spec = networks.spec
        shape = (len(spec.variables), *spec.grid.grid.shape)
        features = torch.from_numpy(feature_fields(spec.features, spec.grid.grid, INIT_TIME)[None])
        with torch.inference_mode():
            frame = torch.randn(group_size, *shape)
            self._context = networks.context((frame, frame), features)
            mean, std = networks.warm_start(self._context)
            self._flow = (frame, torch.full((1,), 0.5), networks.flow.embed(torch.full((1,), 0.5), torch.ones(1)))
        self._shared, self._prepare = (self._context, mean, std), networks.flow.precompute
        self._execution, self._device = execution, device
        self._warm_start = execution.compile(networks.warm_start)
        self._velocity = execution.compile(networks.flow.velocity)

    @torch.inference_mode()
    def run(self, num_groups: int, num_lead_times: int, nfe: int) -> float:
        """Evaluate the networks as a forecast with full groups does, and return the seconds."""
        began = time.perf_counter()
        with self._execution.autocast(self._device):
            for _ in range(num_groups * num_lead_times):
                self._warm_start(self._context)
                fixed = self._prepare(*self._shared)
                for _ in range(nfe):
                    self._velocity(*self._flow, fixed)
        return time.perf_counter() - began


def measure_warm_start_cost(networks: Networks, group_size: int, repeats: int) -> float:
    """Return what a time step costs besides the evaluations of the flow, in such evaluations, from the shortest times.

    That is the evaluation of the warm start, with the layers of the flow that are evaluated once per step.
    """
    bare, few, many = BareEvaluations(networks, Execution(), group_size), 1, 5
    bare.run(1, 1, 1)
    times = [[bare.run(1, 2, nfe) for nfe in (few, many)] for _ in range(repeats)]
    short, long = (min(seconds) for seconds in zip(*times, strict=True))
    flow = (long - short) / (many - few)
    return float((short - few * flow) / flow)


def measure_convolutions(networks: Networks, group_size: int) -> tuple[float, float]:
    """Return the share of an eager evaluation's time spent in convolutions, and their relative speed.

    The speed is their floating point operations per second over those of a 2048 × 2048 matrix product.
    """
    bare = BareEvaluations(networks, Execution(), group_size)
    bare.run(1, 1, 2)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as profile:
        bare.run(1, 1, 4)
        product = torch.ones(2048, 2048)
        for _ in range(3):
            torch.mm(product, product)
    events = profile.key_averages()
    spent = {event.key: event.self_cpu_time_total for event in events if event.key != "aten::mm"}
    convolving = sum(time for name, time in spent.items() if "conv" in name)
    speeds = {event.key: event.flops / event.cpu_time_total for event in events if event.flops}
    speed = sum(event.flops for event in events if event.key == "aten::conv2d") / convolving
    return float(convolving / sum(spent.values())), float(speed / speeds["aten::mm"])


class PlainLoop:
    """A rollout in plain PyTorch: inference mode, region writes through xarray, diagnostics at the end.

    Run it in a separate process, where the settings of the memory allocator are unchanged.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    @torch.inference_mode()
    def run(self, store: Path, members: int, num_lead_times: int, nfe: int, group_size: int) -> float:
        """Return the seconds to compute a forecast from random frames, write it to `store`, and diagnose it.

        The solver is midpoint, with `nfe` evaluations of the flow network per lead time; `store` becomes a Zarr store.
        """
        began = time.perf_counter()
        spec = self._networks.spec
        shape = (len(spec.variables), *spec.grid.grid.shape)
        self._preallocate(store, members, num_lead_times, group_size)
        groups = [range(first, min(first + group_size, members)) for first in range(0, members, group_size)]
        frames = [[torch.randn(len(group), *shape)] * 2 for group in groups]
        for lead_index in range(num_lead_times):
            for index, group in enumerate(groups):
                previous, newest = frames[index]
                noise = white_noise(0, INIT_TIME, group, lead_index, (shape[0], shape[1], shape[2]))
                states = self._step(previous, newest, lead_index, noise, nfe)
                frames[index] = [newest, states]
                region = {"lead_time": slice(lead_index, lead_index + 1), "number": slice(group[0], group[-1] + 1)}
                xr.Dataset(
                    {
                        name: (("lead_time", "number", "latitude", "longitude"), states[None, :, channel].numpy())
                        for channel, name in enumerate(spec.variable_names)
                    }
                ).to_zarr(store, region=region, consolidated=False)
        ensemble = xr.open_zarr(store, consolidated=False)
        start = mean_spectra(np.zeros((1, *shape), np.float32), spec.grid.grid)
        for lead_index in range(num_lead_times):
            fields = np.stack([ensemble[name][lead_index].values for name in spec.variable_names], axis=1)
            diagnose_lead_time([fields], start, range(members), spec.variable_names, spec.grid.grid)
        return time.perf_counter() - began

    def _preallocate(self, store: Path, members: int, num_lead_times: int, group_size: int) -> None:
        spec = self._networks.spec
        dimensions = ("lead_time", "number", "latitude", "longitude")
        shape = (num_lead_times, members, *spec.grid.grid.shape)
        empty = xr.Dataset(
            {name: (dimensions, np.broadcast_to(np.float32(np.nan), shape)) for name in spec.variable_names}
        )
        chunks = (1, group_size, *spec.grid.grid.shape)
        encoding = {name: {"chunks": chunks} for name in spec.variable_names}
        empty.chunk(dict(zip(dimensions, chunks, strict=True))).to_zarr(
            store, compute=False, encoding=encoding, consolidated=False
        )

    def _step(self, previous: Tensor, newest: Tensor, lead_index: int, noise: Tensor, nfe: int) -> Tensor:
        networks, spec = self._networks, self._networks.spec
        valid_time = INIT_TIME + lead_index * spec.time_step
        features = torch.from_numpy(feature_fields(spec.features, spec.grid.grid, valid_time)[None])
        context = networks.context((newest, previous), features)
        mean, std = networks.warm_start(context)
        warmth = torch.ones(len(newest))
        scale = blend_scale(std, warmth)
        x_t, times = noise, torch.linspace(0, 1, nfe // 2 + 1)
        for begin, end in itertools.pairwise(times):
            half = self._velocity(x_t, begin, warmth, context, mean, scale)
            middle = x_t + (end - begin) / 2 * half
            x_t = x_t + (end - begin) * self._velocity(middle, (begin + end) / 2, warmth, context, mean, scale)
        return networks.context.denormalise(restore(x_t, mean, scale))

    def _velocity(self, x_t: Tensor, t: Tensor, warmth: Tensor, context: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Return the velocity at `x_t` and flow time `t`, from one evaluation of the whole flow network.

        No result is kept for the next evaluation, not even of the layers whose input is the same for all of a step.
        """
        flow, times = self._networks.flow, t.expand(len(x_t))
        kappa = torch.sqrt(t**2 + (1 - t) ** 2)
        whole = torch.cat([x_t / kappa, context, mean, scale], dim=1)
        output: Tensor = flow.net(whole, flow.embed(times, warmth))
        return (2 * t - 1) / kappa**2 * x_t + output / kappa
