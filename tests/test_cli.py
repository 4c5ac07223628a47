"""The command line as a whole: start-up, exit codes, signals, generated help."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stemprover import __version__
from stemprover.cli import options
from stemprover.cli.main import main

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "numpy", "diffusers", "transformers", "scipy", "sklearn", "rich", "yaml", "soundfile", "jinja2")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return (int(exit_.value.code or 0), *capsys.readouterr())


def start(*arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    program = "from stemprover.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plugins", "--help"], ["plugins", "list"]])
def test_quick_commands_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from stemprover.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print(*sorted(set(sys.modules) & set({HEAVY})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr.split() == []


def test_package_imports_nothing_heavy_until_a_name_is_used() -> None:
    program = (
        f"import sys, stemprover; assert not set(sys.modules) & set({HEAVY})\n"
        "from stemprover import StemSet; assert 'numpy' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_is_there() -> None:
    import stemprover

    assert all(getattr(stemprover, name) is not None for name in stemprover.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = stemprover.nothing


def test_choices_are_those_of_the_library() -> None:
    from stemprover.enhanced import QUALITY_STEPS
    from stemprover.models import _DTYPES
    from stemprover.stems import STEM_CLASSES

    assert options.STEM_NAMES == STEM_CLASSES
    assert tuple(QUALITY_STEPS) == options.QUALITIES
    assert tuple(_DTYPES) == options.DTYPES


def test_help_lists_every_command_and_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"\n  {name} " in out for name in ("enhance", "detect", "plugins", "data", "train"))
    assert run(capsys, "--version")[1].split()[-1] == __version__


def test_generated_pages_in_the_docs_are_current() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for path, text in generate.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run `make docs`"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["polish"], "No such command 'polish'"),
        (["enhance"], "Missing argument 'INPUT...'"),
        (["enhance", "a.wav", "--louder"], "No such option"),
        (["enhance", "a.wav", "--stem", "kazoo"], "'kazoo' is not one of 'vocals'"),
        (["enhance", "a.wav", "--jobs", "0"], "--jobs"),
        (["enhance", "a.wav", "--auto-detect", "--adapter", "drumbleed:loud"], "drumbleed:loud"),
        (["detect", "a.wav"], "nothing at 'a.wav'"),
        (["plugins", "info", "nothing-of-this-name"], "nothing-of-this-name"),
        (["data", "check", "."], "manifest.jsonl"),
        (["train", "base", "--pairs", "here", "--out", "there", "--steps", "many"], "many"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("stemprover: error: ")
    assert part in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_plugins_list_as_json_has_the_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "plugins", "list", "--json")
    plugins = json.loads(out)
    assert code == 0
    assert {"embedded", "griffin-lim"} <= {plugin["name"] for plugin in plugins}
    keys = ["name", "kind", "version", "status", "reason", "artifacts", "stems", "distribution", "license"]
    assert all(list(plugin) == keys for plugin in plugins)


def test_plugins_list_and_info_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(run(capsys, "plugins", "list", "--json")[1])
    shown = json.loads(run(capsys, "plugins", "info", "embedded", "--json")[1])
    assert next(plugin for plugin in listed if plugin["name"] == "embedded").items() <= shown.items()
    assert "iSTFT" in run(capsys, "plugins", "info", "embedded")[1]


def test_plugins_search_finds_by_artifact(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "plugins", "search", "--artifact", "bleed/drums", "--json")[1])
    assert "stemprover-lora-drumbleed" in {entry["distribution"] for entry in found}
    assert run(capsys, "plugins", "search", "no such word")[1] == "nothing found\n"


def test_plugins_are_switched_off_and_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMPROVER_HOME", str(tmp_path))
    for command in ("disable", "enable"):
        assert run(capsys, "plugins", command, "drumbleed")[0] == 0
        assert ("drumbleed" in (tmp_path / "plugins.json").read_text()) == (command == "disable")


def test_interruption_exits_130_and_leaves_whole_files_only(tmp_path: Path) -> None:
    running = start("data", "synth", "--out", tmp_path, "--count", "1000", "--seconds", "4")
    while running.poll() is None and not list(tmp_path.glob("*/mixture.flac")):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.strip().splitlines()[-1].startswith("stemprover: interrupted")
    assert "Traceback" not in err
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".flac"}


def test_a_reader_that_goes_away_is_no_error() -> None:
    running = start("plugins", "list")
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == ""
    assert running.wait(timeout=60) in (0, 1)
