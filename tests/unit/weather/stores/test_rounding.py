import numpy as np
import pytest
from numcodecs import BitRound
from numpy.typing import NDArray

from weather.stores.rounding import round_bits


@pytest.fixture(scope="module")
def values() -> NDArray[np.float32]:
    """Random values over 20 orders of magnitude."""
    normal = np.random.default_rng(0).standard_normal(10_000)
    return (normal * 10.0 ** np.arange(-10, 10).repeat(500)).astype(np.float32)


@pytest.mark.parametrize("keep_bits", [1, 7, 12, 22, 23])
def test_the_relative_error_is_at_most_half_of_the_last_bit(values: NDArray[np.float32], keep_bits: int) -> None:
    rounded = round_bits(values, keep_bits)
    error = np.abs(rounded.astype(np.float64) - values) / np.abs(values)
    assert error.max() <= 2.0 ** -(keep_bits + 1)
    if keep_bits < 23:
        assert error.max() > 0.75 * 2.0 ** -(keep_bits + 1)
    assert not (rounded.view(np.uint32) & np.uint32((1 << (23 - keep_bits)) - 1)).any()
    np.testing.assert_array_equal(round_bits(rounded, keep_bits), rounded)


@pytest.mark.parametrize("keep_bits", [1, 7, 12, 22])
def test_the_result_equals_that_of_numcodecs(values: NDArray[np.float32], keep_bits: int) -> None:
    encoded = BitRound(keepbits=keep_bits).encode(values)
    np.testing.assert_array_equal(round_bits(values, keep_bits).view(np.uint32), np.asarray(encoded).view(np.uint32))


def test_zeros_and_values_that_are_not_finite_stay() -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    special = np.append(special, np.uint32(0x7FFFFFFF).view(np.float32))
    np.testing.assert_array_equal(round_bits(special, 3), special)
    assert np.signbit(round_bits(special, 3)[4])
