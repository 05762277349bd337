"""What fixes the network's shape, apart from the number of scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Rows and columns that the position encoding has vectors for, as in the paper's code.
MAX_MAP_CELLS = 50


@dataclass(frozen=True)
class NetworkConfig:
    """Describe the regressor; the defaults are the paper's network.

    Args:
        backbone: Name of a timm network that offers feature maps. The paper's EfficientNet-B0 is
            `tf_efficientnet_b0`; `tf_efficientnet_lite0` has ImageNet weights offline.
        position_stride: Image pixels per cell of the map that the position transformer reads.
        orientation_stride: The same for the orientation transformer.
        hidden_dim: Width of both transformers.
        num_heads: Attention heads.
        feedforward_dim: Width inside a layer's feed-forward network.
        num_encoder_layers: Layers of each encoder.
        num_decoder_layers: Layers of each decoder.
        dropout: In the transformers, in training only.
        head_dim: Width inside the two residual heads.
        num_position_clusters: Position clusters of every scene; 0 regresses the position itself.
        num_orientation_clusters: The same for orientations.
        shared_encoder: One encoder for both tasks; with one stride for both, they also share the
            backbone's map.
        residual: Regress residuals; without, the centroid is the answer.
        cluster_residuals: One residual a cluster, not one for whichever cluster is chosen.
        mixture_clusters: At run time, weigh the answers of so many most likely clusters by their
            probabilities; 1 takes the most likely one. More than one needs `cluster_residuals`.
        normalize_positions: Regress in units of each scene's spread, so that a desk and a street
            weigh alike.
        rotation: What the orientation head regresses: quaternions, as the paper does, or the
            first two columns of the rotation matrix (6D, arXiv 1812.07035).
        position_encoding: `learned`, or fixed `sine` waves as in DETR (arXiv 2411.01443).
        attention_dropout: What dropout inside attention drops: single `weights`, as the paper
            does, or whole `keys`, every query and head alike for its own head: the same
            expectation, with a fused kernel.
        uncertainty: A head that learns each answer's covariance, by a `gaussian` or a `laplace`
            likelihood of the errors in training; it does not touch the pose. `none` leaves the
            covariance to the calibration.

    Raises:
        ValueError: If the values do not fit together.
    """

    backbone: str = "tf_efficientnet_b0"
    position_stride: int = 16
    orientation_stride: int = 8
    hidden_dim: int = 256
    num_heads: int = 4
    feedforward_dim: int = 256
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    dropout: float = 0.1
    head_dim: int = 1024
    num_position_clusters: int = 4
    num_orientation_clusters: int = 4
    shared_encoder: bool = False
    residual: bool = True
    cluster_residuals: bool = False
    mixture_clusters: int = 1
    normalize_positions: bool = False
    rotation: Literal["quaternion", "6d"] = "quaternion"
    position_encoding: Literal["learned", "sine"] = "learned"
    attention_dropout: Literal["weights", "keys"] = "weights"
    uncertainty: Literal["none", "gaussian", "laplace"] = "none"

    # Read by mspr_ros.config: an unknown key is an error.
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def __post_init__(self) -> None:
        counts = {
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "feedforward_dim": self.feedforward_dim,
            "head_dim": self.head_dim,
            "num_encoder_layers": self.num_encoder_layers,
            "num_decoder_layers": self.num_decoder_layers,
            "mixture_clusters": self.mixture_clusters,
        }
        problems = [f"{name} must be at least 1, got {n}" for name, n in counts.items() if n < 1]
        for name in ("position_stride", "orientation_stride"):
            if getattr(self, name) not in (4, 8, 16, 32):
                problems.append(f"{name} must be 4, 8, 16 or 32, got {getattr(self, name)}")
        for name in ("num_position_clusters", "num_orientation_clusters"):
            if getattr(self, name) < 0:
                problems.append(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.residual and not min(
            self.num_position_clusters, self.num_orientation_clusters
        ):
            problems.append("without residuals there must be clusters of both kinds")
        if self.mixture_clusters > 1 and not self.cluster_residuals:
            problems.append("mixture_clusters above 1 needs cluster_residuals")
        if self.position_encoding == "sine" and self.hidden_dim % 4:
            problems.append(f"sine encoding needs hidden_dim in fours, got {self.hidden_dim}")
        if self.num_heads > 0 and self.hidden_dim % (2 * self.num_heads) != 0:
            problems.append(
                f"hidden_dim {self.hidden_dim} must be a multiple of 2 x num_heads "
                f"({2 * self.num_heads})"
            )
        if not 0.0 <= self.dropout < 1.0:
            problems.append(f"dropout must lie in [0, 1), got {self.dropout}")
        if problems:
            raise ValueError("; ".join(problems))
