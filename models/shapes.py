"""Shapes of tensors, as jaxtyping annotations; fields are always (member, channel, latitude, longitude)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

Fields = Float[Tensor, "member channel lat lon"]
"""Fields of each member, or of each training sample; one channel per variable."""

Frames = Sequence[Fields]
"""Fields of consecutive frames, one time step apart, newest first."""

Context = Float[Tensor, "member context lat lon"]
"""The context C that both networks take: normalised frames, static fields and features."""

Features = Float[Tensor, "batch feature lat lon"]
"""Features of a date, for each member, or one entry for all members."""

StaticFields = Float[Tensor, "field lat lon"]
"""Normalised fields that are constant in time, without a member axis."""

Scalars = Float[Tensor, " batch"]
"""One number per member, or one for all members."""

FlowTime = Scalars
"""Flow time t, from 0 (source) to 1 (target)."""

Warmth = Scalars
"""Warmth w, from 0 to 1."""

Embedding = Float[Tensor, "batch width"]
"""Embedding of the scalars of each member, or one for all members."""

Scalar = Float[Tensor, ""]
"""A single number, such as a loss."""

RowWeights = Float[Tensor, "lat 1"]
"""A weight for each latitude; the mean of all is 1."""
