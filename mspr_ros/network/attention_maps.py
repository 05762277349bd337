"""What the transformers look at: the attention weights that a forward pass really used.

The network attends by kernels that never show their weights. They are computed here a second
time from what went into the `Attention` modules in that pass and the modules' own `query`, `key`
and `value` layers: softmax(Q K^T / sqrt(d)).

Letters: B batch, H heads, Q queries, N keys (cells of a map), d width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mspr_ros.network.transformer import Attention


@dataclass(frozen=True)
class AttentionCall:
    """One call of one `Attention` module.

    Args:
        queries: (B, H, Q, d), projected and split into heads.
        keys: (B, H, N, d), likewise.
        values: (B, H, N, d), likewise.
        output: (B, Q, D) what the module gave.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    output: Tensor

    @property
    def weights(self) -> Tensor:
        """How much each query takes from each key: (B, H, Q, N), rows sum to 1."""
        scale = 1.0 / math.sqrt(self.queries.shape[-1])
        return torch.softmax(self.queries @ self.keys.transpose(-2, -1) * scale, dim=-1)


@contextmanager
def record_attention(network: nn.Module) -> Iterator[dict[Attention, list[AttentionCall]]]:
    """Record every call of every `Attention` module while the context is open.

    Yields:
        Module -> its calls, in order; float32, detached. Filled by the forward passes made
        inside of the context; a module that two branches share has a call of each.
    """
    calls: dict[Attention, list[AttentionCall]] = {}
    handles = []
    try:
        for module in network.modules():
            if isinstance(module, Attention):
                handles.append(_watch(module, calls.setdefault(module, [])))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _watch(module: Attention, calls: list[AttentionCall]) -> Any:
    layers = (module.query, module.key, module.value)

    def keep_call(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        with torch.no_grad():
            pairs = zip(layers, inputs, strict=True)
            queries, keys, values = (module.split(layer(x)).float() for layer, x in pairs)
        calls.append(AttentionCall(queries, keys, values, output.detach().float()))

    return module.register_forward_hook(keep_call)


def relative_entropy(weights: Tensor) -> Tensor:
    """Give the entropy of rows of weights over that of uniform ones: (..., N) -> (...), 0 to 1.

    1 looks at everything alike, which is to look at nothing; 0 looks at a single key. A single
    key leaves no choice: 1.
    """
    count = weights.shape[-1]
    if count == 1:
        return torch.ones_like(weights[..., 0])
    entropy: Tensor = -torch.special.xlogy(weights, weights).sum(dim=-1)
    return entropy / math.log(count)


def query_key_distance(call: AttentionCall) -> Tensor:
    """Give the distance between mean query and mean key of every head: (B, H).

    The measure of arXiv 2411.01443: where queries and keys lie in different regions, every
    query finds the same few keys closest.
    """
    difference = call.queries.mean(dim=2) - call.keys.mean(dim=2)  # (B, H, d)
    return difference.square().sum(dim=-1).sqrt()


def query_key_spread(call: AttentionCall) -> Tensor:
    """Give the root mean square distance of queries and keys from their own means: (B, H).

    The scale on which to read `query_key_distance`: far apart is many spreads apart.
    """
    centred = [x - x.mean(dim=2, keepdim=True) for x in (call.queries, call.keys)]
    squares = [x.square().sum(dim=-1).mean(dim=-1) for x in centred]  # (B, H) each
    return ((squares[0] + squares[1]) / 2.0).sqrt()


def query_dependence(weights: Tensor) -> Tensor:
    """Tell how much of the attention depends on who asks: (..., Q, N) -> (...), 0 to 1.

    The share of weight (total variation) by which a query's row differs from the mean row,
    averaged over the queries. 0 is idle self-attention: every cell receives the same mixture.
    """
    mean = weights.mean(dim=-2, keepdim=True)
    return 0.5 * (weights - mean).abs().sum(dim=-1).mean(dim=-1)


def grid_of(num_cells: int, image_height: int, image_width: int) -> tuple[int, int]:
    """Give rows and columns of the map that has so many cells for an image of this size.

    Raises:
        ValueError: If no stride of a backbone makes such a map.
    """
    for stride in (4, 8, 16, 32):
        rows, columns = math.ceil(image_height / stride), math.ceil(image_width / stride)
        if rows * columns == num_cells:
            return rows, columns
    raise ValueError(f"no map of a {image_width}x{image_height} image has {num_cells} cells")
