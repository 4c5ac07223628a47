"""The allocator of a process that works for hours: one arena, and large blocks from it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import pytest

from stemprover.batch.allocator import settle_allocator, settled_environment

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")

SCRIPT = """
import ctypes, sys, threading
from stemprover.batch.allocator import settle_allocator, settled_environment
if sys.argv[1] != "as it comes":
    settle_allocator(keep_all=sys.argv[1] == "keep all")
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
threads = [threading.Thread(target=libc.malloc, args=(1000,)) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc(ctypes.c_size_t(int(sys.argv[2]) << 20))
libc.fopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, stream)
libc.fflush(stream)
"""


def heaps_and_mapped(how: str, megabytes: int = 20, **environment: str) -> tuple[int, int]:
    """Number of arenas, and bytes that were asked from the system directly."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", SCRIPT, how, str(megabytes)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=plain | environment).stdout
    mapped = re.findall(r'<total type="mmap" count="\d+" size="(\d+)"', told)
    return told.count("<heap nr="), int(mapped[-1])


def test_a_settled_process_has_one_arena_that_large_blocks_come_from() -> None:
    arenas, mapped = heaps_and_mapped("settled")
    assert arenas == 1
    assert mapped < 20 << 20
    arenas, mapped = heaps_and_mapped("as it comes")
    assert arenas > 1
    assert mapped >= 20 << 20


def test_training_takes_the_largest_blocks_from_the_arena_too() -> None:
    assert heaps_and_mapped("settled", 100)[1] >= 100 << 20
    arenas, mapped = heaps_and_mapped("keep all", 100)
    assert arenas == 1
    assert mapped < 20 << 20  # what was mapped before it was settled stays so


@pytest.mark.parametrize("own", [{"MALLOC_ARENA_MAX": "8"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=8"}])
def test_the_user_s_own_options_stand(own: dict[str, str]) -> None:
    assert heaps_and_mapped("settled", **own)[0] > 1


def test_options_that_choose_no_memory_change_nothing() -> None:
    assert heaps_and_mapped("settled", MALLOC_PERTURB_="1")[0] == 1


def test_processes_yet_to_be_started_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*settled_environment(), "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    variables = settled_environment()
    arenas, mapped = heaps_and_mapped("as it comes", **variables)
    assert arenas == 1
    assert mapped < 20 << 20
    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    assert settled_environment() == {name: value for name, value in variables.items() if name != "MALLOC_ARENA_MAX"}
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=8")
    assert settled_environment() == {}


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", None)
    settle_allocator()
