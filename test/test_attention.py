"""The attention shown is the attention used, and the pictures and numbers drawn from it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import (
    TINY_CAMERA,
    TINY_NETWORK,
    make_tiny_bundle,
    make_tiny_network,
    picture_of_directions,
)

from mspr_ros.bundle import Bundle, BundleMetadata, SceneInfo
from mspr_ros.cli.main import main
from mspr_ros.errors import ConfigError
from mspr_ros.evaluation.attention import attend, entropy_of
from mspr_ros.evaluation.attention_plots import choose_rows, upsample
from mspr_ros.localizer import Localizer
from mspr_ros.network.attention_maps import (
    AttentionCall,
    grid_of,
    query_dependence,
    query_key_distance,
    query_key_spread,
    record_attention,
    relative_entropy,
)
from mspr_ros.network.grown import GrownRegressor
from mspr_ros.network.regressor import PoseRegressor
from mspr_ros.network.transformer import Attention
from mspr_ros.preprocess import PreprocessConfig


def test_the_weights_are_those_of_the_network() -> None:
    """softmax(QK)V through `out` is what the fused kernel gave, in every module and call."""
    network = make_tiny_network()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        plain = network(images)
        with record_attention(network) as calls:
            recorded = network(images)
        again = network(images)
    modules = [module for module in network.modules() if isinstance(module, Attention)]
    assert set(calls) == set(modules) and len(modules) >= 6
    shapes = {call.weights.shape for made in calls.values() for call in made}
    assert {shape[2] for shape in shapes} >= {2, 24, 96}  # scenes, and the cells of both maps
    for module, made in calls.items():
        assert made, "an attention module was not seen"
        for call in made:
            mixed = (call.weights @ call.values).transpose(1, 2).flatten(2)
            with torch.inference_mode():
                torch.testing.assert_close(module.out(mixed), call.output, atol=1e-5, rtol=0.0)
            sums = call.weights.sum(dim=-1)
            torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0.0)
    # Looking changes nothing, and leaves nothing behind.
    assert torch.equal(plain.position, recorded.position)
    assert torch.equal(plain.position, again.position)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_module_that_is_called_twice_has_two_calls() -> None:
    module = Attention(hidden_dim=8, num_heads=2, dropout=0.0).eval()
    first, second = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    with record_attention(module) as calls:
        module(first, first, first)
        module(second, second, second)
    assert [call.weights.shape for call in calls[module]] == [(1, 2, 3, 3), (1, 2, 5, 5)]


def test_an_encoder_that_serves_both_branches_shows_both() -> None:
    """The position map comes first, then the orientation map with its four times as many cells."""
    torch.manual_seed(0)
    config = dataclasses.replace(TINY_NETWORK, shared_encoder=True)
    metadata = BundleMetadata(
        network=config,
        preprocess=PreprocessConfig(width=96, height=64, resize_shorter_px=0),
        scenes=(SceneInfo("kitchen"), SceneInfo("office")),
    )
    network = PoseRegressor(config=config, num_scenes=2).eval()
    shared = Localizer(Bundle(network, metadata, ""), torch.device("cpu"))
    position, orientation = attend(shared, PICTURE).branches
    assert position.cross.shape == (1, 2, 4, 6) and orientation.cross.shape == (1, 2, 8, 12)


def test_a_scene_added_later_looks_with_its_own_groups_query() -> None:
    """Scenes 2 and 3 are the first and second query of the second group's decoders."""
    torch.manual_seed(0)
    scenes = tuple(SceneInfo(name) for name in ("kitchen", "office", "cellar", "attic"))
    metadata = BundleMetadata(
        network=TINY_NETWORK,
        preprocess=PreprocessConfig(width=96, height=64, resize_shorter_px=0),
        scenes=scenes,
        scene_groups=(2, 2),
    )
    network = GrownRegressor(config=TINY_NETWORK, groups=(2, 2)).eval()
    grown = Localizer(Bundle(network, metadata, ""), torch.device("cpu"))
    tensor = grown.preprocessor.tensor([PICTURE], [None])
    with torch.inference_mode(), record_attention(network) as calls:
        network(tensor)
    for number, info in enumerate(scenes):
        group = network.added[0] if number >= 2 else network
        for branch in attend(grown, PICTURE, scene=info.name).branches:
            layer = getattr(group, f"{branch.name}_transformer").decoder[-1]
            weights = calls[layer.cross_attention][0].weights[0, :, number % 2]
            expected = weights.reshape(branch.cross[-1].shape)
            np.testing.assert_allclose(branch.cross[-1], expected, atol=1e-6)


def call_of(queries: torch.Tensor, keys: torch.Tensor) -> AttentionCall:
    return AttentionCall(queries, keys, keys, queries)


def test_the_measures_of_known_attention() -> None:
    uniform = torch.full((4, 10), 0.1)
    single = torch.eye(10)
    assert relative_entropy(uniform) == pytest.approx(1.0)
    assert relative_entropy(single).tolist() == [0.0] * 10
    half = torch.tensor([0.5, 0.5, 0.0, 0.0])
    assert float(relative_entropy(half)) == pytest.approx(math.log(2) / math.log(4))
    assert relative_entropy(torch.ones(3, 1)).tolist() == [1.0] * 3
    # Every query sees the same: idle, however peaked. Every query sees its own key: all of it.
    assert float(query_dependence(single[:1].expand(10, -1))) == 0.0
    assert float(query_dependence(single)) == pytest.approx(0.9)
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(1, 2, 500, 4, generator=generator)
    shift = torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]])[None, :, None]
    call = call_of(queries, queries + shift)
    np.testing.assert_allclose(query_key_distance(call), [[5.0, 0.0]], atol=1e-5)
    np.testing.assert_allclose(query_key_spread(call), [[2.0, 2.0]], rtol=0.1)  # sqrt(4)


def test_far_apart_queries_and_keys_make_self_attention_idle() -> None:
    """The mechanism of arXiv 2411.01443, as the two measures see it."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(1, 1, 50, 8, generator=generator)
    together = call_of(points, points)
    apart = call_of(points + 10.0, 3.0 * points - 10.0)
    assert float(query_key_distance(apart)) > 5 * float(query_key_spread(apart))
    assert float(query_dependence(apart.weights)) < 0.5 * float(query_dependence(together.weights))


def test_the_grid_follows_from_the_number_of_cells() -> None:
    assert grid_of(14 * 14, 224, 224) == (14, 14)
    assert grid_of(11 * 14, 168, 224) == (11, 14)  # 10.5 rows are 11
    with pytest.raises(ValueError, match="no map"):
        grid_of(13, 224, 224)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("attention") / "bundle")


@pytest.fixture(scope="module")
def localizer(bundle: Path) -> Localizer:
    return Localizer.load(bundle, device="cpu")


PICTURE = picture_of_directions(TINY_CAMERA, np.eye(3))


def test_the_attention_is_that_of_the_scene_asked_for(localizer: Localizer) -> None:
    looks = {
        name: attend(localizer, PICTURE, TINY_CAMERA, scene=name) for name in ("kitchen", "office")
    }
    recognised = localizer.localize(PICTURE, TINY_CAMERA).scene
    own = attend(localizer, PICTURE, TINY_CAMERA)
    assert own.scene == own.recognised == recognised
    assert own.recognised_probability >= 0.5
    for branch, grid in zip(own.branches, ((4, 6), (8, 12)), strict=True):
        assert branch.cross.shape == (1, 2, *grid)
        np.testing.assert_allclose(branch.cross.sum(axis=(-2, -1)), 1.0, atol=1e-5)
        assert branch.own is None
    index = [look.scene for look in looks.values()].index(recognised)
    same, other = list(looks.values())[index], list(looks.values())[1 - index]
    np.testing.assert_array_equal(same.branches[0].cross, own.branches[0].cross)
    assert np.abs(other.branches[0].cross - own.branches[0].cross).max() > 1e-6
    np.testing.assert_array_equal(
        own.picture, localizer.preprocessor.geometric(PICTURE, TINY_CAMERA)
    )


def test_the_cell_under_a_pixel(localizer: Localizer) -> None:
    look = attend(localizer, PICTURE, TINY_CAMERA, pixel=(95.0, 20.0))
    assert [branch.cell for branch in look.branches] == [(1, 5), (2, 11)]
    assert [branch.own.shape for branch in look.branches] == [(1, 2, 4, 6), (1, 2, 8, 12)]
    for wrong in ((96.0, 0.0), (0.0, -1.0)):
        with pytest.raises(ConfigError, match="outside"):
            attend(localizer, PICTURE, TINY_CAMERA, pixel=wrong)
    with pytest.raises(ConfigError, match="does not know"):
        attend(localizer, PICTURE, TINY_CAMERA, scene="attic")


def test_uniform_attention_is_called_uniform(bundle: Path) -> None:
    """A network whose keys are all alike cannot prefer any cell, and the numbers say so."""
    localizer = Localizer.load(bundle, device="cpu")
    for module in localizer.network.modules():
        if isinstance(module, Attention):
            torch.nn.init.zeros_(module.key.weight)
    look = attend(localizer, PICTURE, TINY_CAMERA).to_dict()
    for name in ("position", "orientation"):
        assert look[name]["cross_attention"]["relative_entropy"] == pytest.approx([1.0], abs=1e-6)
        assert np.max(look[name]["self_attention"]["query_dependence"]) < 1e-6


def test_the_rows_that_are_shown(localizer: Localizer) -> None:
    look = attend(localizer, PICTURE, TINY_CAMERA, pixel=(5.0, 5.0))
    average, own = choose_rows(look)
    np.testing.assert_allclose(average.maps[1], look.branches[1].cross[0].mean(axis=0))
    np.testing.assert_allclose(own.maps[0], look.branches[0].own[0].mean(axis=0))
    heads = choose_rows(look, layer=1, heads=True)
    assert len(heads) == 3 and "head 2" in heads[1].what
    np.testing.assert_array_equal(heads[1].maps[0], look.branches[0].cross[0, 1])
    peak = np.zeros((4, 6))
    peak[2, 4] = 1.0
    spread = upsample(peak, 96, 64)
    rows, columns = np.nonzero(spread == spread.max())
    assert spread.shape == (64, 96)
    assert abs(rows.mean() - 39.5) < 1 and abs(columns.mean() - 71.5) < 1  # the cell's centre
    assert float(entropy_of(peak)) == 0.0


def test_the_command_draws_and_measures(bundle: Path, tmp_path: Path, capsys) -> None:
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), PICTURE[..., ::-1])
    command = ["attention", str(bundle), str(image), "-o", str(tmp_path / "new" / "look.png")]
    command += ["--device", "cpu", "--intrinsics", "90,90,63.5,47.5"]
    assert main([*command, "--cell", "10,10", "--json", str(tmp_path / "look.json")]) == 0
    printed = capsys.readouterr().out
    assert "query-key distance" in printed and "recognised" in printed
    drawn = cv2.imread(str(tmp_path / "new" / "look.png"))
    assert drawn.shape[0] > 600 and np.ptp(drawn) > 200
    result = json.loads((tmp_path / "look.json").read_text())
    look = attend(Localizer.load(bundle, device="cpu"), PICTURE, TINY_CAMERA).to_dict()
    for name in ("position", "orientation"):
        assert result[name]["grid"] == look[name]["grid"]
        entropies = result[name]["cross_attention"]["relative_entropy"]
        assert entropies == pytest.approx(look[name]["cross_attention"]["relative_entropy"])
    for wrong, reason in (
        ([], "not overwritten"),
        (["--overwrite", "--layer", "2"], "layers 1 to 1"),
        (["--overwrite", "--cell", "3"], "two numbers"),
        (["--overwrite", "--scene", "attic"], "attic"),
    ):
        assert main([*command, *wrong]) == 1
        assert reason in capsys.readouterr().err
    elsewhere = tmp_path / "look.tiff"
    assert main([*command[:3], "-o", str(elsewhere)]) == 1
    assert "must be named *.png" in capsys.readouterr().err and not elsewhere.exists()
