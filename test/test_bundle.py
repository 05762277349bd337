"""Bundles: written, read back, damaged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from tiny import make_tiny_bundle

from mspr_ros.bundle import SceneInfo, load_bundle, save_bundle
from mspr_ros.errors import BundleError
from mspr_ros.localizer import Localizer


def edit_metadata(bundle: Path, **changes: object) -> None:
    path = bundle / "bundle.json"
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps(values))


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path) -> None:
    first = load_bundle(make_tiny_bundle(tmp_path / "one"))
    save_bundle(tmp_path / "two", first.network, first.metadata)
    second = load_bundle(tmp_path / "two")
    assert second.metadata == first.metadata
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name
    assert first.content_hash == second.content_hash


def test_half_precision_halves_the_weights_but_not_the_centroids(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "one"))
    save_bundle(tmp_path / "two", bundle.network, bundle.metadata, half_precision=True)
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("one", "two")]
    assert sizes[1] < 0.6 * sizes[0]
    stored = safetensors.torch.load_file(tmp_path / "two" / "weights.safetensors")
    assert stored["position_centroids"].dtype == torch.float32
    again = load_bundle(tmp_path / "two").network
    assert next(again.parameters()).dtype == torch.float32
    assert torch.equal(again.position_centroids, bundle.network.position_centroids)


def test_a_bundle_replaces_a_bundle_but_no_other_folder(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "b"))
    save_bundle(tmp_path / "b", bundle.network, bundle.metadata)
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="other files"):
        save_bundle(tmp_path / "b", bundle.network, bundle.metadata)


def test_a_replaced_bundle_is_never_missing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "b"))
    other = load_bundle(make_tiny_bundle(tmp_path / "other", seed=1))
    steps: list[str] = []
    rename = Path.rename

    def watched(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    def removed(*args: object, **options: object) -> None:
        steps.append("remove")

    monkeypatch.setattr(Path, "rename", watched)
    monkeypatch.setattr("shutil.rmtree", removed)
    save_bundle(tmp_path / "b", other.network, other.metadata)
    monkeypatch.undo()
    # Nothing is removed before the new one stands: between the two is one rename.
    assert steps[:2] == ["rename", "rename"]
    assert load_bundle(tmp_path / "b").content_hash == other.content_hash != bundle.content_hash


def test_a_bundle_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "b"))
    rename, renamed = Path.rename, []

    def fail_once(path: Path, target: Path) -> Path:
        renamed.append(target)
        if len(renamed) == 2:  # the old one is aside
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(KeyboardInterrupt):
        save_bundle(tmp_path / "b", bundle.network, bundle.metadata)
    assert load_bundle(tmp_path / "b").content_hash == bundle.content_hash
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_link_to_a_bundle_stays_a_link(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "b"))
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "current"
    link.symlink_to(tmp_path / "b")
    (tmp_path / "b" / "weights.safetensors").unlink()
    save_bundle(link, bundle.network, bundle.metadata)
    assert link.is_symlink() and load_bundle(tmp_path / "b").content_hash == bundle.content_hash


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    folder = make_tiny_bundle(tmp_path / "b")
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match=r"bundle\.json is a file; give the .* folder, .*/b$"):
        load_bundle(folder / "bundle.json")
    with pytest.raises(BundleError, match="is a file; a bundle is a folder"):
        save_bundle(folder / "bundle.json", bundle.network, bundle.metadata)


def test_missing_folder_and_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.json is missing"):
        load_bundle(tmp_path / "nothing")
    bundle = make_tiny_bundle(tmp_path / "b")
    (bundle / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors is missing"):
        load_bundle(bundle)


def test_damage_is_told_in_one_line(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "b")
    weights = bundle / "weights.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\x00" * 100):
        weights.write_bytes(damaged)
        with pytest.raises(BundleError) as error:
            load_bundle(bundle)
        assert "\n" not in str(error.value)
    weights.write_bytes(whole)
    (bundle / "bundle.json").write_text('{"format_version": 1, "network"')
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(bundle)


def test_another_version_is_refused_with_a_remedy(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "b")
    edit_metadata(bundle, format_version=99)
    with pytest.raises(BundleError, match=r"version 99.*reads 1"):
        load_bundle(bundle)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "b")
    edit_metadata(bundle, scenes=[{"name": "only"}])
    with pytest.raises(BundleError, match="does not fit"):
        load_bundle(bundle)


def test_unknown_keys_are_refused(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "b")
    edit_metadata(bundle, colour="blue")
    with pytest.raises(BundleError, match="unknown key 'colour'"):
        load_bundle(bundle)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "b"))
    weights = tmp_path / "b" / "weights.safetensors"
    tensors = safetensors.torch.load_file(weights)
    tensors["scene_classifier.bias"][:] = torch.nan
    safetensors.torch.save_file(tensors, weights)
    with pytest.raises(BundleError, match="not finite"):
        load_bundle(tmp_path / "b")
    bundle.network.scene_classifier.bias.data[:] = 1e6  # too large for fp16
    with pytest.raises(BundleError, match="not finite"):
        save_bundle(tmp_path / "c", bundle.network, bundle.metadata, half_precision=True)
    assert not (tmp_path / "c").exists()


def test_no_pickle_is_read(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "b")
    torch.save({"scene_classifier.bias": torch.zeros(1)}, bundle / "weights.safetensors")
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["unknown", ""])
def test_reserved_scene_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be called"):
        SceneInfo(name)


def test_scene_covariance_and_frame_reach_the_estimate(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "b"))
    covariance = tuple(float(x) for x in np.diag([1, 2, 3, 4, 5, 6]).ravel())
    scenes = tuple(
        dataclasses.replace(info, residual_covariance=covariance, map_frame=f"map_{info.name}")
        for info in bundle.metadata.scenes
    )
    metadata = dataclasses.replace(bundle.metadata, scenes=scenes)
    save_bundle(tmp_path / "c", bundle.network, metadata)
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    estimate = Localizer.load(tmp_path / "c", device="cpu").localize(picture)
    np.testing.assert_allclose(np.diag(estimate.covariance), [1, 2, 3, 4, 5, 6])
    assert estimate.map_frame == f"map_{estimate.scene}"
    assert not estimate.calibrated
