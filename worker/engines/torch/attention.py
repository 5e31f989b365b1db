"""Attention for a few queries over many keys, by whichever of torch's kernels is quickest on this device."""

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


class Attention:
    """The decoder's two attentions; of (rows, heads, n, width of a head) each."""

    def whole(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend to everything."""
        return scaled_dot_product_attention(query, keys, values)

    def past(self, query: Tensor, keys: Tensor, values: Tensor, heeded: Tensor) -> Tensor:
        """Attend to what *heeded*, shape (rows, 1, n, keys), adds zero to; the rest has minus infinity there."""
        return scaled_dot_product_attention(query, keys, values, attn_mask=heeded.expand(-1, query.shape[1], -1, -1))
