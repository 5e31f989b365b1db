"""The ways to attend: two models in one process, each by its own."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")

import torch
from torch import Tensor
from torch.backends import cuda
from torch.nn.attention import SDPBackend

from worker.engines.torch.device import attention, sdpa
from worker.engines.torch.device.attention import FEW, Attention, _best, plain

TORCH = Path(sdpa.__file__).parent


def allowed() -> tuple[bool, ...]:
    """Which of torch's kernels the process may use at this moment: flash, efficient, plain mathematics, cuDNN."""
    return (
        cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(), cuda.cudnn_sdp_enabled(),
    )  # fmt: skip


def test_the_kernel_of_one_model_is_never_that_of_another_that_attends_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, tuple[bool, ...]] = {}
    inside, others = threading.Event(), threading.Event()

    def attended(query: Tensor, *_: Any, **__: Any) -> Tensor:
        name = threading.current_thread().name.split("_")[0]
        seen[name] = allowed()
        if name == "flash":
            inside.set()
            others.wait(0.5)  # as much time as others need to come in between, if they can
        return query

    monkeypatch.setattr(sdpa, "scaled_dot_product_attention", attended)
    query, before = torch.zeros(1, 2, 3, 8), allowed()

    def by(kernel: SDPBackend | None) -> None:
        plain(query, query, query, None, kernel=kernel)

    def others_by(kernel: SDPBackend | None) -> None:
        by(kernel)
        others.set()

    with ThreadPoolExecutor(1, "flash") as first, ThreadPoolExecutor(1, "cudnn") as second:
        flash = first.submit(by, SDPBackend.FLASH_ATTENTION)
        assert inside.wait(10)
        with ThreadPoolExecutor(1, "any") as third:
            both = [third.submit(others_by, None), second.submit(others_by, SDPBackend.CUDNN_ATTENTION)]
            for one in (flash, *both):
                one.result(10)
    assert seen == {
        "flash": (True, False, False, False),
        "cudnn": (False, False, False, True),
        "any": before,
    }
    assert allowed() == before, "what one had set stays for good"


def test_a_way_for_few_queries_is_not_asked_for_the_many_of_a_long_text_before_a_window() -> None:
    asked: list[int] = []

    def few(query: Tensor, *_: Any) -> Tensor:
        asked.append(query.shape[2])
        return query

    ways = Attention(of_sound=few, of_past=few)
    keys = torch.randn(1, 2, 30, 8)
    for count in (1, FEW, FEW + 1, 223):
        query = torch.randn(1, 2, count, 8)
        found = ways.whole(query, keys, keys)
        if count > FEW:
            assert torch.equal(found, plain(query, keys, keys, None))
    assert asked == [1, FEW]


class Ways:
    """Ways that are measured on a card that is made up, and what is warned of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.warnings: list[dict[str, Any]] = []
        monkeypatch.setattr(attention, "_ms", lambda *_: 1.0)
        monkeypatch.setattr(attention.log, "warning", lambda _, **told: self.warnings.append(told))

    def best(self, **ways: Any) -> Any:
        query = torch.randn(1, 2, 3, 8)
        return _best("sound", {"torch": plain, **ways}, query, query, query, None)


def test_it_is_told_why_when_triton_attends_in_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: Any) -> Tensor:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable or set triton.knobs")

    def wrong(query: Tensor, *_: Any) -> Tensor:
        return query + 9

    ways = Ways(monkeypatch)
    assert ways.best() is plain
    assert ways.best(**{"triton, blocks of 64": lacking, "triton, blocks of 128": lacking}) is plain
    assert ways.best(**{"triton, blocks of 64": wrong}) is plain
    reasons = [one["error"] for one in ways.warnings]
    assert len(reasons) == 3
    assert reasons[0] == "it isn't installed"
    assert "Failed to find C compiler" in reasons[1]
    assert "off by" in reasons[2]


def test_of_triton_s_ways_one_that_runs_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: Any) -> Tensor:
        raise RuntimeError("out of resource: shared memory")

    ways = Ways(monkeypatch)
    ways.best(**{"triton, blocks of 64": plain, "triton, blocks of 128": lacking, "flash": lacking})
    assert ways.warnings == []


def test_nothing_of_the_engine_attends_by_torch_s_own_function_which_sees_what_others_have_set() -> None:
    files = [path for path in TORCH.glob("*.py") if path.name != "sdpa.py"]
    assert files
    assert not [path.name for path in files if "scaled_dot_product" in path.read_text("utf-8")]
