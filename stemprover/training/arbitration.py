"""Training arbiters: which of stem and answer is nearer to the truth, where, on music that nobody asked had heard."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from stemprover.data.pairs import Pair
from stemprover.errors import TrainingError
from stemprover.synthesis.arbiter import ARBITER_SPEC, Arbiter, bins_in_band
from stemprover.training.answers import SIGNALS, answers_path
from stemprover.training.losses import FLOOR, ratios_db
from stemprover.training.separation import save_network

__all__ = ["ArbitrationTask", "Cases", "KnownAnswers"]

_FRAMES = 128  # three seconds
_FLOOR = 1e-2  # with less, stems that are all but clean have by far the steepest losses, and it learns to do nothing
_HARM = 1.0  # of a decibel that is lost, beside what one that is gained is worth; the gate has its say later
_SPECTRUM = 0.5  # of a decibel of log-spectral distance: what is loud and what is not must stay so
_MOST_DB = 30.0
_WORSE_DB = 0.1
_CLEANER, _AS_CLEAN = 0.2, 0.05
_DRAWS, _AUDIBLE = 100, 1e-4
_QUIET = 1e-8  # of the loudest bin: what lies below is not heard
_OTHER_ANSWER, _OTHER_TONE = 0.5, 0.5
_ERRORS = 0.5, 1.1  # of answers, mostly smaller: the network that is released has heard more than those learned from
_TONE_DB, _TONE_POINTS = 4.0, 6
_PLACES = {frozenset(both): place for place, both in enumerate(itertools.combinations_with_replacement(SIGNALS, 2))}
"""Where the product of each two signals is."""
_STEM, _MIXTURE, _CLEAN = (_PLACES[frozenset({signal})] for signal in ("stem", "mixture", "clean"))


@dataclasses.dataclass(frozen=True)
class Cases:
    """Stems and answers to weigh.

    Attributes
    ----------
    products : Tensor
        Of ``SIGNALS``, see :func:`~stemprover.synthesis.arbiter.products`; shape ``[batch, 10, n_bands, frames]``.
    index : Tensor
        Place of each one's class among the arbiter's, shape ``[batch]``.
    """

    products: Tensor
    index: Tensor


class KnownAnswers:
    """Draws batch ``i`` from ``(seed, i)`` alone, so that training resumes to the step.

    Parameters
    ----------
    pairs : sequence of Pair
        Whose products are kept in ``folder``.
    folder : Path
        See :func:`~stemprover.training.answers.make_answers`.
    classes : sequence of str
        Those of the arbiter, in order.
    batch_size, seed : int
        Items per batch; seed of the draw.
    varied, cleaner : bool
        Whether answers are made better and worse and tones changed, and whether stems are made cleaner, too.

    Raises
    ------
    TrainingError
        If there are no pairs; from :meth:`batch`, if none of them can be heard.

    Attributes
    ----------
    music : frozenset of str
        Songs, kits and solo recordings in the pairs.
    """

    def __init__(
        self, pairs: Sequence[Pair], folder: Path, classes: Sequence[str], batch_size: int, seed: int,
        varied: bool = False, cleaner: bool = False,
    ) -> None:  # fmt: skip
        if not pairs:
            raise TrainingError("pairs to learn from", "none", "make some with `stemprover data pairs`")
        self.pairs, self.folder, self.classes = list(pairs), folder, tuple(classes)
        self.batch_size, self.seed, self.varied, self.cleaner = batch_size, seed, varied, cleaner
        chances = np.array([0.5 if pair.sdr_db is None else 1.0 for pair in pairs])
        self._chances = chances / chances.sum()
        self.music = frozenset(name for pair in pairs for name in pair.music)

    def batch(self, index: int) -> Cases:
        """Return batch ``index``; the same index always gives the same batch of a finished folder."""
        rng = np.random.default_rng((self.seed, index))
        drawn = [self._case(rng) for _ in range(self.batch_size)]
        return Cases(torch.stack([each for each, _ in drawn]), torch.tensor([number for _, number in drawn]))

    def _case(self, rng: np.random.Generator) -> tuple[Tensor, int]:
        """One case, its stem audible before and after."""
        for _ in range(_DRAWS):
            pair = self.pairs[int(rng.choice(len(self.pairs), p=self._chances))]
            products = self._cut(pair, rng)
            if min(products[_STEM].sum(), products[_CLEAN].sum()) > _AUDIBLE * products[_MIXTURE].sum():
                return products, self.classes.index(pair.stem)
        raise TrainingError("pairs that can be heard", f"{_DRAWS} silent ones in {self.folder}", "make others")

    def _cut(self, pair: Pair, rng: np.random.Generator) -> Tensor:
        with safe_open(answers_path(self.folder, pair), "pt") as file:
            kept = file.get_slice("products")
            frames = kept.get_shape()[-1]
            start = int(rng.integers(max(1, frames - _FRAMES + 1)))
            products: Tensor = kept[..., start : start + _FRAMES]
        products = torch.nn.functional.pad(products, (0, _FRAMES - products.shape[-1]))
        return vary(products, rng, self.cleaner) if self.varied else products


def towards(products: Tensor, signal: str, share: float) -> Tensor:
    """Products of signals with ``share`` of one's error, ``clean + share * (signal - clean)``; ``[10, ...]``."""
    changed = products.clone()
    for other in SIGNALS:
        if other != signal:
            place = _PLACES[frozenset({signal, other})]
            changed[place] = share * products[place] + (1.0 - share) * products[_PLACES[frozenset({"clean", other})]]
    own, clean, both = (products[_PLACES[frozenset(names)]] for names in ({signal}, {"clean"}, {signal, "clean"}))
    squared = share**2 * own + 2.0 * share * (1.0 - share) * both + (1.0 - share) ** 2 * clean
    changed[_PLACES[frozenset({signal})]] = squared.clamp_min(0.0)
    return changed


def vary(products: Tensor, rng: np.random.Generator, cleaner: bool) -> Tensor:
    """Vary a case ``[10, n_bands, frames]``: cleaner stems if wanted, better and worse answers, other tones."""
    chance = rng.random()
    if cleaner and chance < _CLEANER:
        products = towards(products, "stem", 0.0 if chance < _AS_CLEAN else float(10.0 ** rng.uniform(-1.0, 0.0)))
    if rng.random() < _OTHER_ANSWER:
        products = towards(products, "answer", float(rng.uniform(*_ERRORS)))
    if rng.random() < _OTHER_TONE:
        points = np.linspace(0, ARBITER_SPEC.n_bands - 1, _TONE_POINTS)
        levels = np.interp(np.arange(ARBITER_SPEC.n_bands), points, rng.normal(0.0, _TONE_DB, _TONE_POINTS))
        products = products * torch.from_numpy(10.0 ** (levels / 10.0)).float()[:, None]
    return products


class ArbitrationTask:
    """Decibels that are gained, less what lost ones cost: SDR and SI-SDR by halves, and log-spectral distance.

    The best waveform alone is too quiet wherever it is in doubt.

    Parameters
    ----------
    model : Arbiter
        What learns.
    heard : collection of str
        Songs, kits and solo recordings that it trains on.
    """

    def __init__(self, model: Arbiter, heard: Collection[str]) -> None:
        self.model, self.heard = model, frozenset(heard)

    def trainable(self) -> Arbiter:
        """The arbiter."""
        return self.model

    def loss(self, batch: Cases, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """In bels."""
        del generator  # the draw of the pairs is all the chance there is
        trust, keep = self.model(_seen(batch.products), batch.index)
        gains = gains_db(batch.products, trust, keep, _FLOOR)
        nearer = nearer_db(batch.products, trust, keep)
        loss = -(_worth(gains).mean() + _SPECTRUM * _worth(nearer).mean()) / 10.0
        figures = {"si_gain_db": gains[1].mean().item(), "harmed": _harmed(gains[1]), "nearer_db": nearer.mean().item()}
        return loss, figures

    def validate(self, batch: Cases) -> Mapping[str, float]:
        """Gains of all of the change, and of all of the answer; the share that loses more than 0.1 dB."""
        self.model.eval()
        trust, keep = self.model(_seen(batch.products), batch.index)
        self.model.train()
        figures: dict[str, float] = {}
        for name, shares in (("", (trust, keep)), ("answer_", (torch.ones_like(trust), keep))):
            gain, scaled = gains_db(batch.products, *shares)
            figures |= {f"{name}gain_db": gain.mean().item(), f"{name}si_gain_db": scaled.mean().item()}
            figures[f"{name}harmed"] = _harmed(scaled)
            figures[f"{name}nearer_db"] = nearer_db(batch.products, *shares).mean().item()
        return figures

    def save(self, folder: Path) -> None:
        """Write weights in half precision, configuration and what was heard."""
        save_network(self.model, self.heard, folder)


def _worth(gains: Tensor) -> Tensor:
    return gains.clamp_max(_MOST_DB) - _HARM * (-gains).relu()


def _harmed(gains: Tensor) -> float:
    return (gains < -_WORSE_DB).float().mean().item()


def _seen(products: Tensor) -> Tensor:
    """Products that an arbiter is shown: those without the clean stem."""
    return products[:, [place for both, place in _PLACES.items() if "clean" not in both]]


def gains_db(products: Tensor, trust: Tensor, keep: Tensor, floor: float = FLOOR) -> Tensor:
    """Gain of SDR and of SI-SDR of what an arbiter settles on, in dB.

    Parameters
    ----------
    products : Tensor
        Of ``SIGNALS``, shape ``[batch, 10, n_bands, frames]``.
    trust, keep : Tensor
        See :class:`~stemprover.synthesis.arbiter.Arbiter`; shape ``[batch, n_bands, frames]``.
    floor : float
        Of the clean energy: smaller errors count as none.

    Returns
    -------
    Tensor
        Shape ``[2, batch]``.
    """
    held, answered = (_of(products, name, "clean") for name in ("stem", "answer"))
    clean = products[:, _CLEAN].sum((1, 2))
    energy = _settled(products, trust, keep).sum((1, 2))
    product = (keep * (1.0 - trust) * held + trust * answered).sum((1, 2))
    before = ratios_db(products[:, _STEM].sum((1, 2)), held.sum((1, 2)), clean, floor)
    return ratios_db(energy, product, clean, floor) - before


def nearer_db(products: Tensor, trust: Tensor, keep: Tensor) -> Tensor:
    """By how much log-spectral distance falls, in dB; as :func:`gains_db`, shape ``[batch]``.

    Of bands rather than bins, each as heavy as it has bins; see :func:`~stemprover.evaluation.log_spectral_distance`.
    """
    width = bins_in_band().sum(1).to(products.device)[:, None]
    clean = products[:, _CLEAN] / width
    quiet = _QUIET * clean.amax((1, 2), keepdim=True) + 1e-20

    def distance(energy: Tensor) -> Tensor:
        levels = 10.0 * torch.log10((energy.clamp_min(0.0) / width + quiet) / (clean + quiet))
        return torch.sqrt((levels.square() * width).sum(1) / width.sum() + 1e-6).mean(1)

    return distance(products[:, _STEM]) - distance(_settled(products, trust, keep))


def _settled(products: Tensor, trust: Tensor, keep: Tensor) -> Tensor:
    """Energy of what an arbiter settles on, ``[batch, n_bands, frames]``."""
    kept, both = keep * (1.0 - trust), _of(products, "stem", "answer")
    return kept**2 * products[:, _STEM] + trust**2 * _of(products, "answer", "answer") + 2.0 * kept * trust * both


def _of(products: Tensor, one: str, other: str) -> Tensor:
    return products[:, _PLACES[frozenset({one, other})]]
