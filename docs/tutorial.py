"""Run the tutorial's own commands, and put the pictures and figures that they make into the page.

    python docs/tutorial.py [--data ../shared/data] [--keep FOLDER]

Needs the multitrack songs that the benchmarks use; the song is test material, of which nothing may be learned.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from stemprover.cli.main import main as main_command
from stemprover.separation.embedded import EmbeddedSeparator

DOCS = Path(__file__).parent
PAGE = DOCS / "tutorial.md"
PICTURES = DOCS / "tutorial"
SONG, SECONDS, RATE = "caesium", 20.0, 44_100
_BLOCK = 1 << 18
_WITHOUT_WEIGHTS = (
    " (`light` has no weights yet: median filters stand in, and much of the song ends up in the wrong stem)"
)
_WORSE = """

Here the repair did more harm than good: the weights are not good enough for stems as poor as these.
[Quality](benchmarks/quality.md) says how good they are."""
_LITTLE_DB = 0.1
_LITTLE = """

That is next to nothing, and no ear hears it: on stems as poor as these the repair holds back wherever it cannot tell
that it would help, and leaves the rest about as it is. [Quality](benchmarks/quality.md) says for which stems it does
more."""


def commands(page: Path = PAGE) -> list[list[str]]:
    """Return the page's commands, without the word ``stemprover``."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("    stemprover ")]


def prepare(folder: Path, data: Path, seconds: float = SECONDS) -> Path:
    """Write ``song.flac`` and ``true/``, a file for each stem that the light separator gives; returns the folder.

    A stem that the song does not have is silent, and ``other`` is what remains.
    """
    with (data / "multitrack" / "tracks.csv").open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["song"] == SONG]
    paths = [(row["stem"], data / "multitrack" / row["path"]) for row in rows]
    start = _loudest_start([path for _, path in paths], round(seconds * RATE))
    tracks = [(stem, _read(path, start, round(seconds * RATE))) for stem, path in paths]
    names = EmbeddedSeparator().stems
    stems = {name: np.zeros((round(seconds * RATE), 2)) for name in names}
    for stem, audio in tracks:
        stems[stem if stem in names else "other"] += audio
    song = np.sum(list(stems.values()), axis=0)
    scale = 0.9 / max(np.abs(song).max(), *(np.abs(audio).max() for audio in stems.values()))
    (folder / "true").mkdir(parents=True)
    soundfile.write(folder / "song.flac", song * scale, RATE, "PCM_24")
    for name, audio in stems.items():
        soundfile.write(folder / "true" / f"{name}.flac", audio * scale, RATE, "PCM_24")
    return folder


def _read(path: Path, start: int, samples: int) -> np.ndarray:
    audio = soundfile.read(path, start=start, frames=samples, always_2d=True)[0]
    return np.pad(np.broadcast_to(audio, (len(audio), 2)), ((0, samples - len(audio)), (0, 0)))


def _loudest_start(paths: Sequence[Path], samples: int) -> int:
    """Where every track that plays at all plays the most: the sum of levels, each relative to the track's highest."""
    total = np.zeros(0)
    for path in paths:
        with soundfile.SoundFile(path) as file:
            levels = np.array([np.sqrt(np.mean(block**2)) for block in file.blocks(_BLOCK, always_2d=True)])
        longest = max(total.size, levels.size)
        total = np.pad(total, (0, longest - total.size)) + np.pad(
            levels / max(levels.max(), 1e-9), (0, longest - levels.size)
        )
    window = max(1, samples // _BLOCK)
    return int(np.argmax(np.convolve(total, np.ones(window), mode="valid"))) * _BLOCK


def run(folder: Path, page: Path = PAGE) -> dict[str, str]:
    """Run every command in ``folder``; returns what each printed, by command line.

    Raises
    ------
    RuntimeError
        A command failed.
    """
    printed = {}
    for arguments in commands(page):
        text = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(text):
            try:
                main_command(arguments)
            except SystemExit as end:
                if end.code:
                    raise RuntimeError(f"{shlex.join(arguments)} exited with {end.code}") from end
        printed[shlex.join(arguments)] = text.getvalue()
    return printed


def scores(printed: Mapping[str, str]) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of whole stems as ``evaluate --csv`` printed them: by folder (``stems``, ``clean``), stem and metric."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for line, text in printed.items():
        if line.startswith("evaluate"):
            folder = shlex.split(line)[shlex.split(line).index("--estimate") + 1].partition("/")[0]
            stems = found.setdefault(folder, {})
            for row in csv.DictReader(io.StringIO(text)):
                if row["scope"] == "stem":
                    stems.setdefault(row["stem"], {})[row["metric"]] = float(row["value"])
    return found


def _table(measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    names = {
        "si_sdr": "SI-SDR, dB",
        "log_spectral_distance": "log-spectral distance, dB",
        "bleedless": "bleedless",
        "fullness": "fullness",
    }
    lines = ["| stem | " + " | ".join(names.values()) + " |", "|---|" + "---:|" * len(names)]
    for stem, before in measured["stems"].items():
        after = measured["clean"][stem]
        if "silence_level" in before:
            cells = [f"silent in truth: {before['silence_level']:.1f} → {after['silence_level']:.1f} dBFS"] + [""] * 3
        else:
            cells = [f"{before[name]:.2f} → {after[name]:.2f}" for name in names]
        lines.append(f"| {stem} | " + " | ".join(cells) + " |")
    heard = [stem for stem in measured["stems"] if "si_sdr" in measured["stems"][stem]]
    means = [
        " → ".join(f"{np.mean([measured[part][stem][name] for stem in heard]):.2f}" for part in ("stems", "clean"))
        for name in names
    ]
    lines.append("| **mean** | " + " | ".join(means) + " |")
    weak = "" if "vocals" in EmbeddedSeparator().stems else _WITHOUT_WEIGHTS
    before, after = (float(np.mean([measured[part][stem]["si_sdr"] for stem in heard])) for part in ("stems", "clean"))
    return f"As separated by `light` → repaired{weak}:\n\n" + "\n".join(lines) + _verdict(after - before)


def _verdict(gain_db: float) -> str:
    """What to say below the table about the mean gain of SI-SDR."""
    if gain_db <= 0.0:
        return _WORSE
    return _LITTLE if gain_db < _LITTLE_DB else ""


def main() -> None:
    """Prepare the song, run the commands, copy pictures and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DOCS.parent.parent / "shared" / "data")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave everything there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary) / "tutorial"
        printed = run(prepare(folder, options.data))
        PICTURES.mkdir(exist_ok=True)
        for name in re.findall(r"\(tutorial/(\w+\.png)\)", PAGE.read_text(encoding="utf-8")):
            Image.open(folder / name).convert("RGB").quantize(256).save(PICTURES / name, optimize=True)
    pattern = re.compile(r"(<!-- measured: begin -->\n).*?(<!-- measured: end -->)", re.DOTALL)
    table = _table(scores(printed))
    PAGE.write_text(
        pattern.sub(lambda m: m[1] + table + "\n" + m[2], PAGE.read_text(encoding="utf-8")), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
