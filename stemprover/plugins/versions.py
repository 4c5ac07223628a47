"""Does this host satisfy a plugin's version range?

``packaging`` knows every form of PEP 440 but takes 15 ms to import, a tenth of what ``plugins list`` may take. Ranges
of plain releases (``>=0.1,<1``) are therefore compared here, everything else by ``packaging``.
"""

from __future__ import annotations

import re

__all__ = ["valid_range", "version_in_range"]

_CLAUSE = re.compile(r"(>=|<=|==|!=|<|>)\s*(\d+(?:\.\d+)*)", re.ASCII)
_RELEASE = re.compile(r"\d+(?:\.\d+)*", re.ASCII)


def _release(text: str) -> tuple[int, ...]:
    numbers = [int(part) for part in text.split(".")]
    while numbers and numbers[-1] == 0:  # 1.0 == 1
        numbers.pop()
    return tuple(numbers)


def _plain(specifier: str) -> list[tuple[str, str]] | None:
    """Split a range of plain releases into its clauses; ``None`` when it is anything else."""
    matches = [_CLAUSE.fullmatch(clause.strip()) for clause in specifier.split(",")]
    return [(match[1], match[2]) for match in matches if match] if all(matches) else None


def _holds(version: str, operator: str, bound: str) -> bool:
    have, want = _release(version), _release(bound)
    return {
        ">=": have >= want,
        "<=": have <= want,
        "==": have == want,
        "!=": have != want,
        ">": have > want,
        "<": have < want,
    }[operator]


def valid_range(specifier: str) -> bool:
    """Tell whether ``specifier`` is a PEP 440 version range such as ``>=0.1,<1``."""
    if _plain(specifier) is not None:
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return len(SpecifierSet(specifier)) > 0
    except InvalidSpecifier:
        return False


def version_in_range(version: str, specifier: str) -> bool:
    """Tell whether ``version`` lies in a valid range; a pre-release of the host counts as that version."""
    clauses = _plain(specifier)
    if clauses is not None and _RELEASE.fullmatch(version):
        return all(_holds(version, operator, bound) for operator, bound in clauses)
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)
