"""Round fields to fewer mantissa bits, so that they compress better."""

import numpy as np
from numpy.typing import NDArray

MANTISSA_BITS = 23


def round_bits(values: NDArray[np.float32], keep_bits: int) -> NDArray[np.float32]:
    """Return `values` with `keep_bits` (1 to 23) of their 23 mantissa bits, rounded to the nearest, ties to even.

    The relative error is at most 2^−(keep_bits + 1) for normal numbers. Values that are not finite stay
    unchanged. Source: Klöwer et al. (2021), as implemented by numcodecs' BitRound.
    """
    dropped = MANTISSA_BITS - keep_bits
    if not dropped:
        return values
    bits = np.ascontiguousarray(values).view(np.uint32)
    last_kept = (bits >> np.uint32(dropped)) & np.uint32(1)
    rounded = bits + last_kept + np.uint32((1 << (dropped - 1)) - 1)
    rounded &= np.uint32(0xFFFFFFFF ^ ((1 << dropped) - 1))
    return np.where(np.isfinite(values), rounded.view(np.float32), values)
