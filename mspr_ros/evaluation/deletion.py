"""Whether a map shows what counts: take the cells away in its order, and see the answer move."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from mspr_ros.evaluation.integrated_gradients import answers, blurred
from mspr_ros.evaluation.metrics import orientation_error_deg, position_error_m
from mspr_ros.evaluation.structures import by_pixel
from mspr_ros.geometry import Array
from mspr_ros.network.regressor import PoseRegressor, Selection
from mspr_ros.preprocess import ImageU8, Preprocessor

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
# Sigma of the soft border between kept and blurred cells, so that no edge is made, pixels.
_BORDER_PX = 1.5


def curves(
    network: PoseRegressor,
    preprocessor: Preprocessor,
    picture: ImageU8,
    chosen: Selection,
    ranking: Array,
) -> dict[str, dict[str, Array]]:
    """Blur a picture's cells, the highest ranked first, and bring them back likewise.

    Args:
        network: In evaluation mode.
        preprocessor: Of the network.
        picture: As the network sees it, (h, w, 3).
        chosen: Scene and clusters to answer for.
        ranking: (rows, columns), what counts most is highest.

    Returns:
        `deletion` and `insertion`, each by branch: how far (m, deg) the answer lies from that
        to the whole picture, for each of `SHARES` of the cells.
    """
    # 0 for the highest
    order = np.argsort(np.argsort(-ranking.ravel(), kind="stable")).reshape(ranking.shape)
    height, width = picture.shape[:2]
    pictures = [picture]
    for share in SHARES:
        first = by_pixel((order < round(share * ranking.size)).astype(np.float64), height, width)
        pictures += [_mix(picture, 1.0 - first), _mix(picture, first)]
    device = next(network.parameters()).device
    with torch.inference_mode():
        tensor = preprocessor.normalize(torch.from_numpy(np.stack(pictures)).to(device))
        told = {
            name: values.double().cpu().numpy()
            for name, values in answers(network, tensor, chosen).items()
        }
    away = {
        "position": position_error_m(np.broadcast_to(told["position"][0], (len(pictures), 3)),
                                     told["position"]),
        "orientation": orientation_error_deg(
            np.broadcast_to(told["orientation"][0], (len(pictures), 4)), told["orientation"]
        ),
    }  # fmt: skip
    return {
        "deletion": {name: values[1::2] for name, values in away.items()},
        "insertion": {name: values[2::2] for name, values in away.items()},
    }


def _mix(picture: ImageU8, kept: Array) -> ImageU8:
    """Keep a picture where `kept` is 1, and blur it where that is 0."""
    weight = cv2.GaussianBlur(kept.astype(np.float32), (0, 0), _BORDER_PX)[..., None]
    mixed = weight * picture + (1.0 - weight) * blurred(picture)
    return np.asarray(np.round(mixed), dtype=np.uint8)


def area(curve: Array) -> float:
    """Give the mean of a curve over `SHARES`, in its own unit."""
    return float(0.5 * (curve[1:] + curve[:-1]) @ np.diff(SHARES))
