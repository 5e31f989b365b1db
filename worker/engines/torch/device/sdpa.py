"""torch's own attention, one thread at a time: which of its kernels it may take is a setting of the whole process."""

import threading
from contextlib import nullcontext

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

_setting = threading.Lock()


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    kernel: SDPBackend | None = None,
) -> Tensor:
    """
    Attend; nothing else may call torch's, which would see the kernels that another thread has chosen meanwhile.

    Args:
        query: Shape (rows, heads, n, width of a head), as what is returned.
        keys: Shape (rows, heads, m, width of a head), as *values*.
        mask: Added to the scores, of a shape that expands to (rows, heads, n, m).
        causal: Whether each query attends to nothing behind its own place.
        kernel: The only one to take; None: torch chooses. It is a captured graph's for good.

    Raises:
        RuntimeError: *kernel* can't compute that here.
    """
    with _setting, nullcontext() if kernel is None else sdpa_kernel(kernel):
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=causal)
