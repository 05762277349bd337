"""Where a cell of an activation map lies in the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mspr_ros.network.configuration import MAX_MAP_CELLS

_SHORTEST_WAVES = 8.0


class LearnedPositionEncoding(nn.Module):
    """Learn one vector per column and one per row; a cell's encoding is both, column first.

    One table serves the maps of both transformers (the paper, section 3.2).

    Shape: (height, width) -> (height * width, hidden_dim), row by row.
    """

    def __init__(self, *, hidden_dim: int) -> None:
        super().__init__()
        self.row_embed = nn.Embedding(MAX_MAP_CELLS, hidden_dim // 2)
        self.col_embed = nn.Embedding(MAX_MAP_CELLS, hidden_dim // 2)
        nn.init.uniform_(self.row_embed.weight)
        nn.init.uniform_(self.col_embed.weight)

    def forward(self, height: int, width: int) -> Tensor:
        """Give the encodings of a map's cells."""
        if max(height, width) > MAX_MAP_CELLS:
            raise ValueError(
                f"a map of {width}x{height} cells is larger than the position encoding's "
                f"{MAX_MAP_CELLS}; use a smaller input or a coarser stride"
            )
        return _join(self.col_embed.weight[:width], self.row_embed.weight[:height])


class SinePositionEncoding(nn.Module):
    """Encode a cell's column and row by fixed waves of many lengths, column first.

    Coordinates are shares of the map, as in DETR (arXiv 2005.12872, appendix A.4): maps of two
    strides agree on where a place of the image is. DETR's shortest wave spans the map; ours goes
    eight times through it, so that near cells differ.

    Shape: (height, width) -> (height * width, hidden_dim), row by row.
    """

    frequencies: Tensor

    def __init__(self, *, hidden_dim: int) -> None:
        super().__init__()
        steps = torch.arange(hidden_dim // 4, dtype=torch.float32) / (hidden_dim // 4)
        self.register_buffer("frequencies", 10000.0**-steps, persistent=False)

    def forward(self, height: int, width: int) -> Tensor:
        """Give the encodings of a map's cells."""
        return _join(self._waves(width), self._waves(height))

    def _waves(self, count: int) -> Tensor:
        places = (torch.arange(count, device=self.frequencies.device) + 0.5) / count
        phases = 2.0 * math.pi * _SHORTEST_WAVES * places[:, None] * self.frequencies
        return torch.cat((phases.sin(), phases.cos()), dim=-1)  # (count, D / 2)


def _join(columns: Tensor, rows: Tensor) -> Tensor:
    width, height = len(columns), len(rows)
    cells = (
        columns.unsqueeze(0).expand(height, -1, -1),
        rows.unsqueeze(1).expand(-1, width, -1),
    )
    return torch.cat(cells, dim=-1).flatten(0, 1)  # (H*W, D)
