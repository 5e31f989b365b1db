"""A kernel in Triton for a few queries over many keys; importing it needs Triton, running it a compiler as well."""

import torch
import triton
from torch import Tensor
from triton import language as tl

LEAST_QUERIES = 16
"""Tensor cores take no fewer."""


@triton.jit  # type: ignore[untyped-decorator]
def _few_queries(  # type: ignore[no-untyped-def]  # noqa: PLR0917  Triton's language, not Python's
    query, keys, values, mask, out,
    query_row, query_head, query_at, keys_row, keys_head, keys_at, values_row, values_head, values_at,
    mask_row, mask_at, out_row, out_head, out_at, queries, count, scale,
    masked: tl.constexpr, padded: tl.constexpr, block: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """Each program reads one head's keys and values of one row once, for all of its queries."""
    head, row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at, feature = tl.arange(0, padded), tl.arange(0, width)
    asked = (at < queries)[:, None]
    place = query + row * query_row + head * query_head
    q = tl.load(place + at[:, None] * query_at + feature[None, :], mask=asked, other=0.0)
    keys += row * keys_row + head * keys_head
    values += row * values_row + head * values_head
    highest = tl.full([padded], -float("inf"), tl.float32)
    total = tl.zeros([padded], tl.float32)
    found = tl.zeros([padded, width], tl.float32)
    for start in range(0, count, block):
        step = start + tl.arange(0, block)
        there = step < count
        k = tl.load(keys + step[None, :] * keys_at + feature[:, None], mask=there[None, :], other=0.0)
        score = tl.dot(q, k) * scale
        if masked:
            added = mask + row * mask_row + at[:, None] * mask_at + step[None, :]
            score += tl.load(added, mask=asked & there[None, :], other=0.0).to(tl.float32)
        score = tl.where(there[None, :], score, -float("inf"))
        new = tl.maximum(highest, tl.max(score, 1))
        base = tl.where(new == -float("inf"), 0.0, new)
        weight = tl.exp(score - base[:, None])
        shrunk = tl.exp(highest - base)
        v = tl.load(values + step[:, None] * values_at + feature[None, :], mask=there[:, None], other=0.0)
        found = found * shrunk[:, None] + tl.dot(weight.to(v.dtype), v)
        total = total * shrunk + tl.sum(weight, 1)
        highest = new
    place = out + row * out_row + head * out_head + at[:, None] * out_at + feature[None, :]
    tl.store(place, (found / total[:, None]).to(out.dtype.element_ty), mask=asked)


def few_queries(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, *, block: int = 128, warps: int = 4
) -> Tensor:
    """
    Attend with at most 16 queries a row; see `worker.engines.torch.device.attention.Attention`.

    Args:
        mask: Added to the scores, shape (rows, 1, queries, keys).
        block: Keys that are read at a time.
        warps: Groups of threads that share a block.
    """
    rows, heads, count, width = query.shape
    out = torch.empty(rows, count, heads, width, device=query.device, dtype=query.dtype).transpose(1, 2)
    mask_ = query if mask is None else mask
    _few_queries[heads, rows](
        query, keys, values, mask_, out, *query.stride()[:3], *keys.stride()[:3], *values.stride()[:3],
        mask_.stride(0), mask_.stride(2), *out.stride()[:3], count, keys.shape[2], width**-0.5,
        masked=mask is not None, padded=max(LEAST_QUERIES, triton.next_power_of_2(count)), block=block, width=width,
        num_warps=warps, num_stages=3,
    )  # fmt: skip
    return out
