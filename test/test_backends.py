"""Backends answer alike; an export that does not is refused, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_inference import assert_same, stir_batch_norms
from test_network_options import OPTIONS, make_images, make_network
from tiny import make_tiny_bundle, make_tiny_dataset, make_tiny_network

from mspr_ros.backends.answer import (
    AnswerByName,
    NetworkAnswer,
    answer_from_named,
    named_tensors,
)
from mspr_ros.backends.comparison import Truth, compare_backends, largest_difference
from mspr_ros.backends.export import export_bundle
from mspr_ros.backends.exported import ExportInfo, OnnxRuntimeBackend, OpenVinoBackend
from mspr_ros.backends.torch_backend import TorchBackend
from mspr_ros.bundle import load_bundle
from mspr_ros.cli.main import main
from mspr_ros.errors import BundleError, ConfigError, MsprError
from mspr_ros.localizer import Localizer
from mspr_ros.network.inference import prepare_for_inference
from mspr_ros.network.regressor import Encoded

SIZE = (64, 96)
CPU = torch.device("cpu")
RUNTIMES = [("onnx", OnnxRuntimeBackend, "onnxruntime"), ("openvino", OpenVinoBackend, "openvino")]


def truth_of(answer: NetworkAnswer) -> Truth:
    return Truth(
        answer.output.position.double().numpy() + 1.0,
        np.roll(answer.output.orientation.double().numpy(), 1, axis=1),
        answer.output.selection.scene.numpy(),
    )


class Shifted:
    """Answer like another backend, moved along x, and look like one that sees less."""

    name, precision = "shifted", "int8"

    def __init__(self, original: Any, metres: float, seen: float = 1.0) -> None:
        self._original, self._metres, self._seen = original, metres, seen

    def __call__(self, images: torch.Tensor, scene: torch.Tensor | None = None) -> NetworkAnswer:
        answer = self._original(images, scene)
        offset = torch.tensor([self._metres, 0.0, 0.0])
        moved = answer.output._replace(position=answer.output.position + offset)
        return answer._replace(output=moved)

    def look(self, images: torch.Tensor) -> Encoded:
        encoded = self._original.look(images)
        return encoded._replace(position_out=encoded.position_out * self._seen)


@pytest.mark.parametrize("options", [OPTIONS[2], OPTIONS[5], OPTIONS[6]], ids=str)
@torch.inference_mode()
def test_the_graph_by_name_gives_everything_the_network_does(options: dict[str, Any]) -> None:
    with torch.inference_mode(mode=False):
        network = make_network(num_scenes=3, **options)
    stir_batch_norms(network)
    images, forced = make_images(3), torch.tensor([1, -1, 0])
    graph = AnswerByName(prepare_for_inference(network, *SIZE), *SIZE)
    named = dict(zip(graph.names, graph(images, forced), strict=True))
    answer = answer_from_named(named)
    free = network(images).selection.scene
    expected = network(images, scene=torch.where(forced < 0, free, forced))
    assert_same(answer.output, expected)
    torch.testing.assert_close(
        answer.descriptor, network.look(images).descriptor, atol=1e-4, rtol=1e-4
    )


def test_names_go_there_and_back() -> None:
    output = make_tiny_network()(make_images(2))
    named = {**named_tensors(output), "descriptor": torch.zeros(2, 6)}
    assert "selection.scene" in named and "query_key_distance" not in named
    assert_same(answer_from_named(named).output, output)


def test_torch_backend_answers_as_the_network_and_knows_its_precisions() -> None:
    network = make_network()
    backend = TorchBackend(network, *SIZE, CPU, "fp32")
    assert backend.precision == "fp32"
    assert_same(backend(make_images(2)).output, network(make_images(2)))
    scene = torch.tensor([1, 0])
    assert_same(backend(make_images(2), scene).output, network(make_images(2), scene=scene))
    half = TorchBackend(network, *SIZE, CPU, "bf16")(make_images(2)).output
    assert half.position.dtype == torch.float32
    apart = (half.position - network(make_images(2)).position).abs().max().detach()
    assert 0.0 < float(apart) < 0.5
    with pytest.raises(ConfigError, match="no precision 'fp8'"):
        TorchBackend(network, *SIZE, CPU, "fp8")


def test_a_backend_that_answers_differently_is_refused() -> None:
    original = TorchBackend(make_network(), *SIZE, CPU, "fp32")
    images = make_images(6)
    same = compare_backends(original, original, images, exact=True)
    assert same["largest_difference"] < 1e-5 and same["scene_agreement"] == 1.0
    with pytest.raises(MsprError, match=r"position differs by 0\.0"):
        compare_backends(original, Shifted(original, 0.01), images, exact=True)


def test_a_lower_precision_is_judged_by_its_median_errors() -> None:
    original = TorchBackend(make_network(), *SIZE, CPU, "fp32")
    images = make_images(6)
    answer = original(images)
    truth = truth_of(answer)  # one metre away along each axis
    # What its own heads make of it is nothing that the localizer uses.
    same = compare_backends(original, Shifted(original, 5.0), images, truth, exact=False)
    assert same["shift_m"]["median"] == pytest.approx(0.0, abs=1e-6) and same["rise"] == 0.0
    assert same["median_errors_m_deg"]["torch"][0] == pytest.approx(3**0.5, rel=1e-4)
    blind = Shifted(original, 0.0, seen=0.0)
    allowed = compare_backends(original, blind, images, truth, exact=False, max_rise=1e9)
    seen = original.look(images)
    expected = original.prepared.answer(0.0 * seen.position_out, seen.orientation_out)
    shift = (expected.position - answer.output.position).norm(dim=1).median().detach()
    assert allowed["shift_m"]["median"] == pytest.approx(float(shift), rel=0.2) and shift > 0.0
    with pytest.raises(MsprError, match="median errors rise by"):
        compare_backends(
            original, blind, images, truth, exact=False, max_rise=allowed["rise"] - 1e-3
        )


def test_a_nan_is_the_largest_difference() -> None:
    found = {"a": torch.tensor([1.0]), "b": torch.tensor([float("nan")])}
    largest, name = largest_difference({"a": torch.zeros(1), "b": torch.zeros(1)}, found)
    assert name == "b" and largest != largest


@pytest.mark.parametrize(("format_name", "kind", "package"), RUNTIMES)
def test_an_export_answers_as_torch_does(
    tmp_path: Path, format_name: str, kind: Any, package: str
) -> None:
    pytest.importorskip("onnx", reason="mspr export needs it; optional")
    pytest.importorskip(package, reason="an optional runtime")
    bundle_folder, output = make_tiny_bundle(tmp_path / "bundle"), tmp_path / "exported"
    command = ["export", str(bundle_folder), "--format", format_name, "-o", str(output)]
    assert main([*command, "--json", str(tmp_path / "result.json")]) == 0
    info = ExportInfo.read(output)
    assert info is not None and info.precision == "fp32"
    assert json.loads((tmp_path / "result.json").read_text())["check"]["images"] == 8
    bundle = load_bundle(output)
    assert bundle.content_hash == info.bundle_hash == load_bundle(bundle_folder).content_hash
    name = {"onnx": "network.onnx", "openvino": "network.xml"}[format_name]
    backend = kind(output / name, "fp32", num_threads=1)
    for count in (1, 4):  # the size of the batch is free
        assert_same(backend(make_images(count)).output, bundle.network(make_images(count)))
    scene = torch.tensor([1, 1])
    expected = bundle.network(make_images(2), scene=scene)
    assert_same(backend(make_images(2), scene).output, expected)
    assert main(command) == 1  # not overwritten


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precisions_are_exported_with_their_accuracy(tmp_path: Path, precision: str) -> None:
    pytest.importorskip("onnx", reason="mspr export needs it; optional")
    pytest.importorskip("onnxruntime", reason="an optional runtime")
    bundle, dataset = make_tiny_bundle(tmp_path / "bundle"), make_tiny_dataset(tmp_path / "data")
    command = ["export", str(bundle), "--format", "onnx", "--precision", precision]
    command += ["--data", str(dataset), "--frames", "6", "-o"]
    assert main([*command, str(tmp_path / "a"), "--max-rise", "10"]) == 0
    info = ExportInfo.read(tmp_path / "a")
    assert info is not None and info.precision == precision
    assert info.check["shift_m"]["p99"] > 0.0
    assert set(info.check["median_errors_m_deg"]) == {"torch", "exported"}
    assert main([*command, str(tmp_path / "b"), "--max-rise", "-0.9"]) == 1
    assert not (tmp_path / "b").exists()


def test_a_changed_export_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx", reason="mspr export needs it; optional")
    pytest.importorskip("onnxruntime", reason="an optional runtime")
    import mspr_ros.backends.export as module

    folder = make_tiny_bundle(tmp_path / "bundle")
    bundle, other = load_bundle(folder), load_bundle(make_tiny_bundle(tmp_path / "other", seed=1))
    write_onnx = module.write_onnx
    monkeypatch.setattr(module, "write_onnx", lambda bundle, path: write_onnx(other, path))
    with pytest.raises(MsprError, match="does not answer like torch"):
        export_bundle(
            folder, bundle, tmp_path / "exported",
            format_name="onnx", precision="fp32", images=make_images(2),
        )  # fmt: skip
    assert not (tmp_path / "exported").exists()


def test_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mspr_ros.backends.export as module

    monkeypatch.setattr(module, "is_installed", lambda package: package != "openvino")
    bundle = make_tiny_bundle(tmp_path / "bundle")
    command = ["export", str(bundle), "--format", "openvino", "-o", str(tmp_path / "out")]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "pip install openvino" in error and len(error.strip().splitlines()) == 1


def test_damaged_exports_are_refused(tmp_path: Path) -> None:
    assert ExportInfo.read(tmp_path) is None
    ExportInfo("onnx", "fp32", "abc").write(tmp_path)
    with pytest.raises(BundleError, match=r"network\.onnx is missing"):
        ExportInfo.read(tmp_path)
    (tmp_path / "export.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        ExportInfo.read(tmp_path)


@pytest.fixture
def exported_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that says it holds an exported network, which is torch's in disguise."""
    import mspr_ros.backends.choice as module

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = make_tiny_bundle(tmp_path / "bundle")
    (folder / "network.onnx").write_bytes(b"stands in for a network")
    bundle = load_bundle(folder)
    ExportInfo("onnx", "fp32", bundle.content_hash).write(folder)

    def stand_in(folder: Path, info: ExportInfo, backend: str) -> Any:
        made = TorchBackend(bundle.network, *SIZE, CPU, "fp32")
        made.name = backend
        return made

    monkeypatch.setattr(module, "open_exported", stand_in)
    monkeypatch.setattr(module, "is_installed", lambda package: package != "openvino")
    return folder


def test_auto_takes_the_fastest_and_remembers_it(
    exported_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mspr_ros.backends.choice as module

    measured: list[list[str]] = []

    def medians(backends: Any, images: torch.Tensor) -> dict[str, float]:
        assert all(
            backend.look(images).position_out.shape[0] == 1 for backend in backends.values()
        )
        measured.append(sorted(backends))
        return {"torch": 2.0, "onnxruntime": 1.0}

    monkeypatch.setattr(module, "median_seconds", medians)
    for _ in range(2):
        assert Localizer.load(exported_folder, "cpu", "auto").backend == "onnxruntime"
    assert measured == [["onnxruntime", "torch"]]  # openvino is not installed; once only
    module.memory_file().write_text("damaged")
    assert Localizer.load(exported_folder, "cpu", "auto").backend == "onnxruntime"
    assert len(measured) == 2


def test_medians_are_of_every_backend() -> None:
    from mspr_ros.backends.choice import median_seconds

    backend = TorchBackend(make_network(), *SIZE, CPU, "fp32")
    medians = median_seconds({"a": backend, "b": backend}, make_images(1))
    assert set(medians) == {"a", "b"} and min(medians.values()) > 0.0


def test_a_bundle_without_export_runs_in_torch(tmp_path: Path) -> None:
    folder = make_tiny_bundle(tmp_path / "bundle")
    assert Localizer.load(folder, "cpu", "auto").backend == "torch"
    with pytest.raises(ConfigError, match=r"mspr export .* --format onnx"):
        Localizer.load(folder, "cpu", "onnxruntime")


def test_exports_that_do_not_fit_are_refused(exported_folder: Path) -> None:
    with pytest.raises(ConfigError, match="exported in fp32, not in int8"):
        Localizer.load(exported_folder, "cpu", "onnxruntime", "int8")
    with pytest.raises(ConfigError, match="pip install openvino"):
        Localizer.load(exported_folder, "cpu", "openvino")
    ExportInfo("onnx", "fp32", "another").write(exported_folder)
    with pytest.raises(BundleError, match="another state of the bundle"):
        Localizer.load(exported_folder, "cpu", "onnxruntime")


@pytest.mark.parametrize(("format_name", "kind", "package"), RUNTIMES)
def test_the_localizer_gives_the_same_poses(
    tmp_path: Path, format_name: str, kind: Any, package: str
) -> None:
    pytest.importorskip("onnx", reason="mspr export needs it; optional")
    pytest.importorskip(package, reason="an optional runtime")
    bundle, output = make_tiny_bundle(tmp_path / "bundle"), tmp_path / "exported"
    assert main(["export", str(bundle), "--format", format_name, "-o", str(output)]) == 0
    pictures = [np.full((96, 128, 3), shade, np.uint8) for shade in (20, 120, 220)]
    expected = Localizer.load(bundle, "cpu").localize_batch(pictures)
    localizer = Localizer.load(output, "cpu", package)
    assert localizer.backend == package
    for found, estimate in zip(localizer.localize_batch(pictures), expected, strict=True):
        np.testing.assert_allclose(found.T_map_cam, estimate.T_map_cam, atol=1e-4)
        assert found.scene == estimate.scene


def test_all_files_of_a_calibrated_bundle_are_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mspr_ros.backends.export as module

    folder = make_tiny_bundle(tmp_path / "bundle")
    bundle = load_bundle(folder)
    (folder / "prototypes.safetensors").write_bytes(b"prototypes")

    def write_onnx(bundle: Any, path: Path) -> None:
        path.write_bytes(b"network")

    def stand_in(path: Path, precision: str) -> Any:
        assert path.read_bytes() == b"network"
        return TorchBackend(bundle.network, *SIZE, CPU, precision)

    monkeypatch.setattr(module, "is_installed", lambda package: True)
    monkeypatch.setattr(module, "_versions", dict)
    monkeypatch.setattr(module, "write_onnx", write_onnx)
    monkeypatch.setattr(module, "OnnxRuntimeBackend", stand_in)
    options = {"format_name": "onnx", "precision": "fp32", "images": make_images(2)}
    info = export_bundle(folder, bundle, tmp_path / "exported", **options)
    assert info.bundle_hash == bundle.content_hash
    for file in folder.iterdir():
        assert (tmp_path / "exported" / file.name).read_bytes() == file.read_bytes()
