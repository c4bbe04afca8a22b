import pytest
import torch

from benchmarks.measurement import resident_bytes
from training.data.buffers import empty_buffer


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
@pytest.mark.parametrize("shape", [(3, 2, 4), (7, 3), (1000, 500)])
def test_a_buffer_is_written_and_read_as_any_tensor(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    buffer = empty_buffer(shape, dtype, is_pinned=False)
    assert (buffer.shape, buffer.dtype) == (torch.Size(shape), dtype)
    values = torch.arange(buffer.numel()).reshape(shape).to(dtype)
    buffer.copy_(values)
    view = buffer[..., 1:]
    del buffer
    assert torch.equal(view, values[..., 1:])


def test_a_released_buffer_is_returned_to_the_system() -> None:
    megabyte, before = 1 << 20, resident_bytes()
    buffer = empty_buffer((64 * megabyte,), torch.uint8, is_pinned=False)
    buffer.fill_(1)
    assert resident_bytes() - before > 48 * megabyte
    del buffer
    assert resident_bytes() - before < 16 * megabyte
