"""The command line as a user meets it: help, exit statuses, one-line errors, --json."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mspr_ros.cli.main import COMMANDS, build_parser, main
from mspr_ros.errors import ConfigError

# Runs the command, then tells on the last line of stderr what was imported with it.
PROBE = """
import sys
from mspr_ros.cli.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as end:
    status = end.code
heavy = ("torch", "rclpy", "timm", "cv2", "matplotlib", "scipy", "rosbags")
print(*(name for name in heavy if name in sys.modules), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_is_told_without_loading_anything_heavy(words: list[str]) -> None:
    command = [sys.executable, "-c", PROBE, *words, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(" ".join(["usage: mspr", *words]))
    loaded = result.stderr.strip().splitlines()[-1] if result.stderr.strip() else ""
    assert loaded == "", f"imported for --help: {loaded}"
    if not words:
        assert all(name in result.stdout for name in COMMANDS)
    else:
        assert "--json FILE" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_module_and_describes_its_arguments(name: str) -> None:
    module_name, summary = COMMANDS[name]
    module = importlib.import_module(f"mspr_ros.cli.{module_name}")
    assert callable(module.add_arguments) and callable(module.run)
    assert summary and not summary.endswith(".")


@pytest.mark.parametrize("words", [[], ["nonsense"], ["replay"], ["demo", "--nonsense"]])
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("usage: mspr")


def test_the_process_exits_as_main_says() -> None:
    for words, status in (([], 2), (["--version"], 0), (["make-bag", "nowhere", "-o", "x"], 1)):
        command = [sys.executable, "-m", "mspr_ros", *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == status, result.stderr


def test_a_known_error_is_one_line_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "nowhere"
    assert main(["make-bag", str(missing), "-o", str(tmp_path / "bag")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("mspr make-bag: ") and "nowhere" in line


class FakeCommand:
    """A subcommand that says what it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: BaseException | None = None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--number", type=int, default=1)

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        self.runs += 1
        if self.error is not None:
            raise self.error
        return {"number": args.number}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCommand:
    command = FakeCommand()
    monkeypatch.setitem(COMMANDS, "fake", ("fake", "do nothing"))
    monkeypatch.setitem(sys.modules, "mspr_ros.cli.fake", command)  # type: ignore[arg-type]
    return command


def test_json_writes_the_result_and_never_overwrites(
    fake: FakeCommand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new folder" / "result.json"
    assert main(["fake", "--json", str(file), "--number", "3"]) == 0
    assert json.loads(file.read_text()) == {"number": 3}
    assert main(["fake", "--json", str(file), "--number", "4"]) == 1
    assert json.loads(file.read_text()) == {"number": 3}
    assert fake.runs == 1, "refused before the work, not after it"
    (line,) = capsys.readouterr().err.splitlines()
    assert str(file) in line and "not overwritten" in line
    assert main(["fake", "--json", str(file / "below" / "result.json")]) == 1
    assert main(["fake", "--json", str(tmp_path)]) == 1
    below, folder = capsys.readouterr().err.splitlines()
    assert f"{file} is a file" in below and "is a folder; name a file" in folder
    assert fake.runs == 1


def test_errors_and_interruption_give_their_status(
    fake: FakeCommand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    fake.error = ConfigError("number must be even")
    assert main(["fake", "--json", str(file)]) == 1
    assert capsys.readouterr().err == "mspr fake: number must be even\n"
    fake.error = NotADirectoryError(20, "Not a directory", "some/file/report")
    assert main(["fake"]) == 1
    assert capsys.readouterr().err == "mspr fake: some/file/report: Not a directory\n"
    fake.error = OSError(28, "No space left on device")
    assert main(["fake"]) == 1
    assert capsys.readouterr().err == "mspr fake: No space left on device\n"
    fake.error = KeyboardInterrupt()
    assert main(["fake"]) == 130
    fake.error = RuntimeError("a mistake of ours")
    with pytest.raises(RuntimeError):  # told with its traceback
        main(["fake"])
    assert not file.exists()


def test_only_the_command_that_is_called_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    real = importlib.import_module
    monkeypatch.setattr(
        "mspr_ros.cli.main.importlib.import_module",
        lambda name: imported.append(name) or real(name),  # type: ignore[func-returns-value]
    )
    build_parser("demo")
    assert imported == ["mspr_ros.cli.demo"]
