"""Tests of the folder of compiled kernels, with real folders, locks and processes, and a kernel that calls another."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from state.kernel_cache import KEPT, KERNELS, KernelCache, kernel_sources, open_kernel_cache, sources_digest

CALLED = "from numba import njit\n\n@njit(cache=True)\ndef called():\n    return {}\n"
CALLER = """
from numba import njit
from state.called import called

@njit(cache=True)
def caller():
    return called()

print(caller(), sum(caller.stats.cache_hits.values()))
"""
ROOT = Path(__file__).parents[2]


def make_sources(root: Path, number: int) -> None:
    """Write two packages: the kernel in ``operators`` returns what the one in ``state`` returns."""
    for package in ("state", "operators"):
        (root / package).mkdir(parents=True, exist_ok=True)
        (root / package / "__init__.py").write_text("from state import kernel_cache\n")
    for name in ("kernel_cache.py", "file_lock.py"):
        (root / "state" / name).write_text((ROOT / "state" / name).read_text())
    (root / "state" / "called.py").write_text(CALLED.format(number))
    (root / "operators" / "caller.py").write_text(CALLER)


def run_caller(root: Path, cache: Path) -> str:
    """Run the kernel in a process of its own; return what it returned and how often it was loaded from the cache."""
    env = {**os.environ, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "operators.caller"]
    return subprocess.run(command, env=env, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
def test_a_change_of_a_called_kernel_is_compiled(tmp_path: Path) -> None:
    """A kernel is loaded as long as nothing has changed, and compiled anew when only what it calls has."""
    root, cache = tmp_path / "root", tmp_path / "cache"
    make_sources(root, 1)
    assert run_caller(root, cache) == "1 0"
    assert run_caller(root, cache) == "1 1"
    make_sources(root, 2)
    assert run_caller(root, cache) == "2 0"
    make_sources(root, 1)
    assert run_caller(root, cache) == "1 1"


@pytest.mark.slow
def test_sources_that_cannot_be_written_to(tmp_path: Path) -> None:
    """Nothing is written beside the sources: a wheel in a folder without a right to write keeps its kernels, too."""
    root, cache = tmp_path / "root", tmp_path / "cache"
    make_sources(root, 1)
    before = sorted(root.rglob("*"))
    assert run_caller(root, cache) == "1 0"
    assert run_caller(root, cache) == "1 1"
    assert sorted(root.rglob("*")) == before


@pytest.mark.slow
def test_the_same_sources_elsewhere_share_kernels(tmp_path: Path) -> None:
    """What was compiled in one checkout is loaded in another one with the same sources."""
    make_sources(tmp_path / "here", 1)
    make_sources(tmp_path / "there", 1)
    assert run_caller(tmp_path / "here", tmp_path / "cache") == "1 0"
    assert run_caller(tmp_path / "there", tmp_path / "cache") == "1 1"


def test_this_process_uses_its_folder() -> None:
    """The environment names the folder, so that child processes find it; numba has been told."""
    import numba  # noqa: PLC0415 - what it has read is the point

    assert os.environ["NUMBA_CACHE_DIR"] == str(KERNELS.folder)
    assert str(KERNELS.folder) == numba.config.CACHE_DIR
    assert KERNELS.folder.name.startswith("kernels-")


def test_a_child_keeps_its_parents_base(tmp_path: Path) -> None:
    """A process that finds the folder of another one in its environment puts its own beside it, not into it."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels-of-a-parent")}
    script = "from state.kernel_cache import KERNELS; print(KERNELS.folder.parent)"
    found = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == str(tmp_path)


def test_the_digest_follows_what_kernels_depend_on(tmp_path: Path) -> None:
    """A changed kernel, a changed module that it imports and another name each give another digest; others do not."""
    make_sources(tmp_path, 1)
    (tmp_path / "state" / "constant.py").write_text("N = 1\n")
    (tmp_path / "operators" / "kernel.py").write_text("from numba import njit\nfrom state.constant import N\n")
    digests = [sources_digest(tmp_path)]
    make_sources(tmp_path, 2)
    digests.append(sources_digest(tmp_path))
    (tmp_path / "state" / "constant.py").write_text("N = 2\n")
    digests.append(sources_digest(tmp_path))
    (tmp_path / "operators" / "kernel.py").rename(tmp_path / "operators" / "other.py")
    digests.append(sources_digest(tmp_path))
    assert len(set(digests)) == 4
    (tmp_path / "operators" / "plain.py").write_text("from state.constant import N\n")
    assert sources_digest(tmp_path) == digests[-1]


def test_the_kernels_of_this_project_depend_on_its_layouts() -> None:
    """What compiled code has built in is found: layouts, parameters, the kernels of other modules."""
    found = kernel_sources(ROOT).keys()
    assert {"operators.learn", "operators.params", "operators.arrays", "state.layout", "state.slab"} <= found
    assert not {"operators.load", "operators.confidence", "state.store", "state.kernel_cache"} & found


def test_old_folders_go_but_never_one_in_use(tmp_path: Path) -> None:
    """Of the folders that no process holds, the most recently used stay; a held one stays however old it is."""
    held = KernelCache(tmp_path, "held")
    for number in range(KEPT + 3):
        KernelCache(tmp_path, f"old{number}").close()
        os.utime(tmp_path / f"kernels-old{number}", (number, number))
    os.utime(held.folder, (0, 0))
    cache = KernelCache(tmp_path, "new")
    left = {folder.name for folder in tmp_path.iterdir()}
    assert left == {"kernels-held", "kernels-new", *(f"kernels-old{k}" for k in range(3, KEPT + 3))}
    held.close()
    cache.close()
    KernelCache(tmp_path, "newer").close()
    assert not held.folder.exists()


def test_complete_is_noted_in_the_folder(tmp_path: Path) -> None:
    """What one process has compiled completely, the next one knows."""
    first = KernelCache(tmp_path, "a")
    assert not first.is_complete
    first.note_complete()
    assert KernelCache(tmp_path, "a").is_complete


def test_one_compiles_at_a_time(tmp_path: Path) -> None:
    """While one process compiles, a second one waits; it goes on when the first is done."""
    cache = KernelCache(tmp_path, "a")
    script = (
        "import sys; from pathlib import Path; from state.kernel_cache import KernelCache\n"
        "cache = KernelCache(Path(sys.argv[1]), 'a'); print('asks', flush=True)\n"
        "with cache.compiling(): print('has it', (cache.folder / 'left').exists(), flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with cache.compiling():
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert other.stdout is not None
        assert other.stdout.readline() == "asks\n"
        (cache.folder / "left").touch()
    assert other.stdout.readline() == "has it True\n"
    assert other.wait(60) == 0
    other.stdout.close()


def test_a_base_that_cannot_be_written(tmp_path: Path) -> None:
    """A file stands where the folder should be: the process gets a temporary one and works."""
    base = tmp_path / "file"
    base.touch()
    make_sources(tmp_path / "root", 1)
    cache = open_kernel_cache(base, tmp_path / "root")
    assert cache.folder.is_dir()
    assert base not in cache.folder.parents
    cache.close()
