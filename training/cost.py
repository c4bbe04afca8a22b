"""What a training costs on a GPU: memory, time and price, from the counts of one optimiser step."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from training.step_counters import StepCounts

_WEIGHT_BYTES = 4
_MOMENTS = 2


@dataclass(frozen=True)
class Gpu:
    """Peak speed without sparsity (float16 and bfloat16, and float32 as TF32), memory bandwidth and memory of a GPU."""

    half_flops: float
    float32_flops: float
    bytes_per_second: float
    memory_bytes: float

    def peak_flops(self, precision: str) -> float:
        """Return the peak speed of convolutions and matrix products at a precision, per second."""
        return self.float32_flops if precision == "float32" else self.half_flops


GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        "h100": Gpu(989e12, 494e12, 3.35e12, 80e9),
        "h200": Gpu(989e12, 494e12, 4.8e12, 141e9),
        "a100": Gpu(312e12, 156e12, 2.04e12, 80e9),
        "l40s": Gpu(362e12, 183e12, 0.864e12, 48e9),
        "rtx4090": Gpu(165e12, 82.6e12, 1.01e12, 24e9),
    }
)
"""Data sheets of their makers: H100 SXM, H200 SXM, A100 SXM 80 GB, L40S, RTX 4090."""

DEFAULT_SHARE = 0.2
"""Share of a GPU's peak speed and bandwidth that steps reach: as measured on an H100 with networks of 2 million
parameters in bfloat16 (`docs/training.md`)."""

FORMULAS = """\
GPU seconds of a step = (FLOP / peak + bytes moved / bandwidth) / share, for the samples that are taken at once. FLOP
are those of convolutions and matrix products, forward and backward; bytes moved what all operations read and write.

Share: 0.2 is what an H100 reached with networks of 2 million parameters in bfloat16. Measure yours in the first
minutes of a training, and pass --share.

GPU hours = steps x parts of a batch x GPU seconds. Several GPUs are taken to share a batch without loss. Reading data,
validation and the first evaluation of h come in addition.

Cost = GPU hours x GPUs x price of a GPU hour.

Memory = weights of both networks + gradients, moments of AdamW and averages of those that are trained, in float32
+ activations, which the forward pass of the step has saved for its backward pass at the configured precision + what
the largest operation reads and writes + outputs of h and frames that are kept on the GPU. CUDA itself needs 1 to 2 GB.

Hours on this device = steps x samples of a step / samples a second: on a CPU those of the one step that was made, its
start included, on a GPU those of ten more.
"""
"""How the estimates are made, a paragraph for each."""


@dataclass(frozen=True)
class Memory:
    """Memory of a GPU while a stage is trained, bytes.

    `weights` are those of all networks; `gradients`, `moments` (AdamW's two) and `averages` of those that are trained;
    `activations` of a part of a batch; `operation` what the largest operation reads and writes; `outputs` the known
    outputs of h and `record` the frames that stay on the device.
    """

    weights: int
    gradients: int
    moments: int
    averages: int
    activations: int
    operation: int
    outputs: int
    record: int

    @property
    def total(self) -> int:
        """The sum."""
        return sum(vars(self).values())


def estimate_memory(
    counts: StepCounts, *, all_weights: int, trained_weights: int, outputs_bytes: int, record_bytes: int
) -> Memory:
    """Return the memory of a stage; `all_weights` and `trained_weights` are numbers of weights, kept in float32."""
    trained = _WEIGHT_BYTES * trained_weights
    return Memory(
        weights=_WEIGHT_BYTES * all_weights,
        gradients=trained,
        moments=_MOMENTS * trained,
        averages=trained,
        activations=counts.saved_bytes,
        operation=counts.largest_bytes,
        outputs=outputs_bytes,
        record=record_bytes,
    )


def estimate_seconds(counts: StepCounts, gpu: Gpu, precision: str, share: float) -> float:
    """Return the duration of the counted step on a GPU: (FLOP ÷ peak + bytes moved ÷ bandwidth) ÷ share."""
    return (counts.flops / gpu.peak_flops(precision) + counts.moved_bytes / gpu.bytes_per_second) / share
