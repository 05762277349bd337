"""Where a cell of an activation map lies in the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mspr_ros.network.configuration import MAX_MAP_CELLS


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
        columns = self.col_embed.weight[:width].unsqueeze(0).expand(height, -1, -1)
        rows = self.row_embed.weight[:height].unsqueeze(1).expand(-1, width, -1)
        return torch.cat((columns, rows), dim=-1).flatten(0, 1)  # (H*W, D)
