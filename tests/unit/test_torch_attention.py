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

from worker.engines.torch import sdpa
from worker.engines.torch.attention import plain

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


def test_nothing_of_the_engine_attends_by_torch_s_own_function_which_sees_what_others_have_set() -> None:
    files = [path for path in TORCH.glob("*.py") if path.name != "sdpa.py"]
    assert files
    assert not [path.name for path in files if "scaled_dot_product" in path.read_text("utf-8")]
