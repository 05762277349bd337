"""The transformer of one task: pre-norm encoder over map cells, decoder with a query per scene.

As in DETR with `normalize_before`: encodings are added to queries and keys in every layer, never
to values; a final norm closes encoder and decoder; the decoder starts from zeros.

Letters: B batch, N cells of the map, S scenes, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention whose queries, keys and values come from different tensors.

    Dropping weights, as the paper does, needs every weight in memory. `drop_keys` draws one mask
    for all queries instead: the same expectation, and the fused kernel computes it, because a
    dropped weight is a dropped value. Where queries are few, as the decoder's, single weights are
    dropped in any case: they cost nothing there.

    Shape: (B, Q, D), (B, N, D), (B, N, D) -> (B, Q, D).
    """

    def __init__(
        self, *, hidden_dim: int, num_heads: int, dropout: float, drop_keys: bool = False
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.drop_keys = drop_keys
        # In training, how far apart queries and keys live (arXiv 2411.01443): distance of their
        # means, averaged over pictures and heads.
        self.query_key_distance: Tensor | None = None
        self.query = nn.Linear(hidden_dim, hidden_dim)
        self.key = nn.Linear(hidden_dim, hidden_dim)
        self.value = nn.Linear(hidden_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, hidden_dim)

    def reset_parameters(self) -> None:
        """Start as torch's own attention does, whose three projections are one (3D, D) matrix."""
        for projection in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(projection.weight, gain=0.5**0.5)
            nn.init.zeros_(projection.bias)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend."""
        return self.attend(self.split(self.query(query)), key, value)

    def attend(self, queries: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend with queries that are projected and split: (B, heads, Q, D / heads)."""
        if queries.shape[2] * self.num_heads < min(key.shape[1:]):
            attended = self._attend_unprojected(queries, key, value)
        else:
            attended = self._attend(queries, key, value)
        return self.out(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def split(self, tokens: Tensor) -> Tensor:
        """Split projected tokens into heads: (B, N, D) -> (B, heads, N, D / heads)."""
        batch, count, dim = tokens.shape
        return tokens.view(batch, count, self.num_heads, dim // self.num_heads).transpose(1, 2)

    def _attend(self, queries: Tensor, key: Tensor, value: Tensor) -> Tensor:
        keys = self.split(self.key(key))  # (B, heads, N, D / heads)
        values = self.split(self.value(value))
        dropout = self.dropout if self.training else 0.0
        if self.training:
            difference = queries.mean(dim=2) - keys.mean(dim=2)  # (B, heads, D / heads)
            self.query_key_distance = difference.norm(dim=-1).mean()
        if dropout > 0.0 and self.drop_keys:
            kept = torch.empty_like(values[..., :1]).bernoulli_(1.0 - dropout)
            values, dropout = values * (kept / (1.0 - dropout)), 0.0
        return functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)

    def _attend_unprojected(self, queries: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend with few queries to many keys without projecting each key and value.

        The same numbers by another order of products: q . (W k + b) = (W^T q) . k + q . b, and a
        weighted sum of projected values is the projected sum.
        """
        heads, dim = self.num_heads, key.shape[2]
        # weight: rows of a head belong together, (heads, D / heads, D).
        queries = queries * queries.shape[-1] ** -0.5
        folded = queries @ self.key.weight.view(heads, -1, dim)  # (B, heads, Q, D)
        bias = queries @ self.key.bias.view(heads, -1, 1)  # (B, heads, Q, 1)
        scores = torch.baddbmm(bias.flatten(1, 2), folded.flatten(1, 2), key.transpose(1, 2))
        weights = scores.softmax(dim=-1)  # (B, heads * Q, N)
        weights = functional.dropout(weights, self.dropout, self.training)
        sums = (weights @ value).view_as(folded)  # (B, heads, Q, D)
        total = weights.sum(dim=-1).view_as(bias)  # (B, heads, Q, 1), 1 without dropout
        projected: Tensor = sums @ self.value.weight.view(heads, -1, dim).transpose(1, 2)
        return projected + total * self.value.bias.view(heads, 1, -1)  # (B, heads, Q, D / heads)


class FeedForward(nn.Sequential):
    """Two linear layers with GELU between, (..., D) -> (..., D)."""

    def __init__(self, *, hidden_dim: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(hidden_dim, feedforward_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dim, hidden_dim),
        )


class EncoderLayer(nn.Module):
    """Let the cells of a map attend to each other. Shape: (B, N, D), (N, D) -> (B, N, D)."""

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        drop_keys: bool = False,
    ) -> None:
        super().__init__()
        self.attention = Attention(
            hidden_dim=hidden_dim, num_heads=num_heads, dropout=dropout, drop_keys=drop_keys
        )
        self.feedforward = FeedForward(
            hidden_dim=hidden_dim, feedforward_dim=feedforward_dim, dropout=dropout
        )
        self.norm_attention = nn.LayerNorm(hidden_dim)
        self.norm_feedforward = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, cells: Tensor, encoding: Tensor) -> Tensor:
        """Give the cells after this layer."""
        normed = self.norm_attention(cells)
        query = normed + encoding
        cells = cells + self.dropout(self.attention(query, query, normed))
        return cells + self.dropout(self.feedforward(self.norm_feedforward(cells)))  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """Let the scenes attend to each other and to the map. Shape: (B, S, D) -> (B, S, D)."""

    def __init__(
        self,
        *,
        hidden_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        drop_keys: bool = False,
    ) -> None:
        super().__init__()
        attention = {"hidden_dim": hidden_dim, "num_heads": num_heads}
        self.self_attention = Attention(**attention, dropout=dropout, drop_keys=drop_keys)
        self.cross_attention = Attention(**attention, dropout=dropout, drop_keys=drop_keys)
        self.feedforward = FeedForward(
            hidden_dim=hidden_dim, feedforward_dim=feedforward_dim, dropout=dropout
        )
        self.norm_self_attention = nn.LayerNorm(hidden_dim)
        self.norm_cross_attention = nn.LayerNorm(hidden_dim)
        self.norm_feedforward = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, targets: Tensor, scene_queries: Tensor, memory: Tensor, encoding: Tensor
    ) -> Tensor:
        """Give the scenes' outputs after this layer."""
        normed = self.norm_self_attention(targets)
        query = normed + scene_queries
        targets = targets + self.dropout(self.self_attention(query, query, normed))
        query = self.norm_cross_attention(targets) + scene_queries
        attended = self.cross_attention(query, memory + encoding, memory)
        targets = targets + self.dropout(attended)
        return targets + self.dropout(self.feedforward(self.norm_feedforward(targets)))  # type: ignore[no-any-return]


class SceneTransformer(nn.Module):
    """Encode a map and decode it once per scene.

    Without encoder layers it decodes what another one has encoded.
    """

    def __init__(
        self,
        *,
        num_scenes: int,
        hidden_dim: int,
        num_heads: int,
        feedforward_dim: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        dropout: float,
        drop_keys: bool = False,
    ) -> None:
        super().__init__()
        shape = {
            "hidden_dim": hidden_dim,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
        }
        self.encoder = nn.ModuleList(
            EncoderLayer(**shape, dropout=dropout, drop_keys=drop_keys)
            for _ in range(num_encoder_layers)
        )
        self.encoder_norm = nn.LayerNorm(hidden_dim) if num_encoder_layers else None
        self.decoder = nn.ModuleList(
            DecoderLayer(**shape, dropout=dropout, drop_keys=drop_keys)
            for _ in range(num_decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.scene_queries = nn.Embedding(num_scenes, hidden_dim)
        for module in (*self.encoder.modules(), *self.decoder.modules()):
            if isinstance(module, Attention):
                module.reset_parameters()
            elif isinstance(module, FeedForward):
                for layer in module:
                    if isinstance(layer, nn.Linear):
                        nn.init.xavier_uniform_(layer.weight)

    def query_key_distance(self) -> Tensor:
        """Give the encoder's mean distance of queries and keys in the last training step."""
        distances = [
            layer.attention.query_key_distance
            for layer in self.encoder
            if isinstance(layer, EncoderLayer) and layer.attention.query_key_distance is not None
        ]
        assert distances, "there was no training step"
        return torch.stack(distances).mean()

    def encode(self, cells: Tensor, encoding: Tensor) -> Tensor:
        """Give the map after the encoder: (B, N, D), encoding (N, D) -> (B, N, D)."""
        assert self.encoder_norm is not None, "a transformer without encoder cannot encode"
        for encoder_layer in self.encoder:
            cells = encoder_layer(cells, encoding)
        return self.encoder_norm(cells)  # type: ignore[no-any-return]

    def decode(self, memory: Tensor, encoding: Tensor) -> Tensor:
        """Give one output a scene: encoded map (B, N, D), encoding (N, D) -> (B, S, D)."""
        queries = self.scene_queries.weight
        targets = torch.zeros_like(queries).expand(memory.shape[0], -1, -1)  # (B, S, D)
        for decoder_layer in self.decoder:
            targets = decoder_layer(targets, queries, memory, encoding)
        return self.decoder_norm(targets)  # type: ignore[no-any-return]
