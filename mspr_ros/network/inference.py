"""The same network, made to answer only: exact rewrites that training cannot use.

What does not depend on the image is computed once, when the network is loaded: position
encodings and what they become in every encoder layer, and the first decoder layer up to its
cross-attention, because its input is zeros. Batch norms are folded into the convolutions before
them, and the backbone works channels last. Answers agree with the network's own to rounding.

Letters: B batch, N cells of the map, S scenes, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.network.threads import one_thread
from mspr_ros.network.transformer import DecoderLayer, EncoderLayer, SceneTransformer

_PROBE_PX = 64  # any size that all strides divide


@one_thread()
def prepare_for_inference(network: PoseRegressor, height: int, width: int) -> PoseRegressor:
    """Give a copy of a network that answers pictures of one size, faster.

    The copy shares the tensors that it does not change; the network itself stays as it is.

    Args:
        network: In evaluation mode.
        height: Of the input, in pixels; other sizes are refused by the copy.
        width: Likewise.
    """
    assert not network.training, "a network in training has no fixed answers"
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    prepared = copy.deepcopy(network, shared)
    with torch.no_grad():
        sizes = _map_sizes(prepared, height, width)
        encodings = [(size, prepared.position_encoding(*size)) for size in sizes]
        tables = {len(encoding): encoding for _, encoding in encodings}
        fold_batch_norms(prepared.backbone.body)
        prepared.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        prepared.position_encoding = ConstantEncoding(encodings)
        for name in ("position_transformer", "orientation_transformer"):
            task = getattr(prepared, name)
            setattr(prepared, name, InferenceTransformer(task, tables.values()))
    return prepared.eval()


def _map_sizes(network: PoseRegressor, height: int, width: int) -> list[tuple[int, int]]:
    """Give rows and columns of the two maps for an input of this size."""
    like = next(network.parameters())
    maps = network.backbone(like.new_zeros(1, 3, height, width))
    return [(feature.shape[-2], feature.shape[-1]) for feature in maps[:2]]


def fold_batch_norms(body: nn.Module) -> int:
    """Fold every batch norm that follows a convolution into it, and tell how many.

    Which follows which is seen in a pass over a small picture, not guessed from names: the norm
    must read the very tensor that the convolution made, and nothing else may be between.
    """
    pairs = _find_pairs(body)
    names = {module: name for name, module in body.named_modules()}
    for convolution, norm in pairs:
        assert norm.running_mean is not None and norm.running_var is not None
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        parent, _, child = names[norm].rpartition(".")
        # timm's norms carry the activation.
        activation = getattr(norm, "act", None) or nn.Identity()
        setattr(body.get_submodule(parent), child, activation)
    return len(pairs)


def _find_pairs(body: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    made: list[tuple[Tensor, nn.Conv2d]] = []  # the tensors are kept, so that none is reused
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    calls: dict[nn.Module, int] = {}

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            made.append((output, module))
        elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            pairs.extend((maker, module) for tensor, maker in made if tensor is inputs[0])

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    handles = [
        module.register_forward_hook(watch)
        for module in body.modules()
        if isinstance(module, kinds)
    ]
    try:
        body(next(body.parameters()).new_zeros(1, 3, _PROBE_PX, _PROBE_PX))
    finally:
        for handle in handles:
            handle.remove()
    # A module that is used twice belongs to two places.
    return [pair for pair in pairs if all(calls[module] == 1 for module in pair)]


class ConstantEncoding(nn.Module):
    """Hand out position encodings computed before. Shape: (height, width) -> (N, D)."""

    def __init__(self, encodings: Iterable[tuple[tuple[int, int], Tensor]]) -> None:
        super().__init__()
        for (height, width), encoding in encodings:
            self.register_buffer(f"encoding_{height}x{width}", encoding, persistent=False)

    def forward(self, height: int, width: int) -> Tensor:
        """Give the encodings of a map's cells."""
        encoding = getattr(self, f"encoding_{int(height)}x{int(width)}", None)
        if encoding is None:
            raise ValueError(
                f"the network was prepared for another size than one with a {width}x{height} map"
            )
        return encoding  # type: ignore[no-any-return]


class InferenceEncoderLayer(nn.Module):
    """An encoder layer whose three projections are one product.

    Queries and keys are projections of cells plus encoding: the encoding's share is a constant
    of the map's size, kept with the biases in a table of (N, 3 D). Shape: (B, N, D) -> same.
    """

    weight: Tensor

    def __init__(self, layer: EncoderLayer, encodings: Iterable[Tensor]) -> None:
        super().__init__()
        attention = layer.attention
        self.num_heads = attention.num_heads
        projections = (attention.query, attention.key, attention.value)
        self.register_buffer(
            "weight", torch.cat([each.weight for each in projections]), persistent=False
        )
        for encoding in encodings:
            table = torch.cat(
                (
                    attention.query(encoding),
                    attention.key(encoding),
                    attention.value.bias.expand_as(encoding),
                ),
                dim=1,
            )
            self.register_buffer(f"table_{len(encoding)}", table, persistent=False)
        self.out = attention.out
        self.feedforward = layer.feedforward
        self.norm_attention = layer.norm_attention
        self.norm_feedforward = layer.norm_feedforward

    def forward(self, cells: Tensor) -> Tensor:
        """Give the cells after this layer."""
        table = getattr(self, f"table_{int(cells.shape[1])}")
        projected = functional.linear(self.norm_attention(cells), self.weight) + table
        # (B, N, 3 D) -> three of (B, heads, N, D / heads)
        queries, keys, values = (
            part.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for part in projected.chunk(3, dim=2)
        )
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        cells = cells + self.out(attended.transpose(1, 2).flatten(2))
        return cells + self.feedforward(self.norm_feedforward(cells))  # type: ignore[no-any-return]


class InferenceTransformer(nn.Module):
    """A `SceneTransformer` in evaluation, for maps of the sizes that encodings are given of."""

    first_targets: Tensor
    first_queries: Tensor

    def __init__(self, task: SceneTransformer, encodings: Iterable[Tensor]) -> None:
        super().__init__()
        encodings = list(encodings)
        self.encoder = nn.ModuleList(
            InferenceEncoderLayer(layer, encodings)  # type: ignore[arg-type]
            for layer in task.encoder
        )
        self.encoder_norm = task.encoder_norm
        self.decoder = task.decoder
        self.decoder_norm = task.decoder_norm
        self.scene_queries = task.scene_queries
        first = task.decoder[0]
        assert isinstance(first, DecoderLayer)
        scenes = task.scene_queries.weight.unsqueeze(0)  # (1, S, D)
        normed = first.norm_self_attention(torch.zeros_like(scenes))
        targets = first.self_attention(normed + scenes, normed + scenes, normed)
        cross = first.cross_attention
        queries = cross.split(cross.query(first.norm_cross_attention(targets) + scenes))
        self.register_buffer("first_targets", targets, persistent=False)  # (1, S, D)
        self.register_buffer("first_queries", queries, persistent=False)  # (1, heads, S, ...)

    def encode(self, cells: Tensor, encoding: Tensor) -> Tensor:
        """Give the map after the encoder: (B, N, D), encoding (N, D) -> (B, N, D)."""
        assert self.encoder_norm is not None, "a transformer without encoder cannot encode"
        for layer in self.encoder:
            cells = layer(cells)
        return self.encoder_norm(cells)  # type: ignore[no-any-return]

    def decode(self, memory: Tensor, encoding: Tensor) -> Tensor:
        """Give one output a scene: encoded map (B, N, D), encoding (N, D) -> (B, S, D)."""
        scenes = self.scene_queries.weight
        keys = memory + encoding  # once for all layers
        for number, layer in enumerate(self.decoder):
            assert isinstance(layer, DecoderLayer)
            if number == 0:
                targets = self.first_targets
                queries = self.first_queries.expand(memory.shape[0], -1, -1, -1)
                attended = layer.cross_attention.attend(queries, keys, memory)
            else:
                normed = layer.norm_self_attention(targets)
                query = normed + scenes
                targets = targets + layer.self_attention(query, query, normed)
                query = layer.norm_cross_attention(targets) + scenes
                attended = layer.cross_attention(query, keys, memory)
            targets = targets + attended
            targets = targets + layer.feedforward(layer.norm_feedforward(targets))
        return self.decoder_norm(targets)  # type: ignore[no-any-return]
