import ctypes

import pytest

from worker.engines import gpu_batch

GB = 1 << 30


@pytest.mark.parametrize(
    ("free", "weights", "batch"),
    [
        (None, 3 * GB, 8),  # no driver says anything
        (2 * GB, 3 * GB, 8),  # the batcher halves it if it must
        (20 * GB, 3 * GB, 10),
        (130 * GB, 3 * GB, 32),
        (8 * GB, 0, 32),
    ],
)
def test_the_batch_follows_free_memory(
    monkeypatch: pytest.MonkeyPatch, free: int | None, weights: int, batch: int
) -> None:
    monkeypatch.setattr(gpu_batch, "free_bytes", lambda _: free)
    assert gpu_batch.batch(weights) == batch


def test_without_a_driver_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert gpu_batch.free_bytes() is None
