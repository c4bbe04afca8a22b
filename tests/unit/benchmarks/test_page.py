from benchmarks.page import compressed_bytes, compute_page_ratios


def _row(field: str, frames: float, chunks: int) -> dict[str, object]:
    return {
        "field": field,
        "first view s": 1.0,
        "first pass, frames/s": frames,
        "by CPU time, frames/s": 2 * frames,
        "second pass, frames/s": frames,
        "chunks": chunks,
        "needed": 59,
    }


def test_ratios_are_those_of_the_mean_wind_and_chunks_of_all_fields() -> None:
    ratios = compute_page_ratios([_row("speed", 30, 59), _row("spread", 10, 118)], 150_000)
    assert ratios == {
        "scrub_ratio": 1.5,
        "cpu_scrub_ratio": 3.0,
        "first_view_ratio": 2.0,
        "chunk_ratio": 1.5,
        "size_ratio": 10.0,
    }


def test_the_page_is_smaller_than_its_limit() -> None:
    assert compute_page_ratios([_row("speed", 30, 59)], compressed_bytes())["size_ratio"] > 1
