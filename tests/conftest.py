"""A strict environment: eight simulated devices, no silent promotion of types or ranks, warnings are errors."""

import os
import shutil
import signal
from importlib.metadata import version

# Before JAX starts: the tests of parallelism need several devices, and a CPU can play eight.
# The tests compile far more than they compute: unoptimised machine code makes them more than twice as fast, the
# older way to make it spares another third of the processor's time, and cutting programs into parts for several
# threads only costs where two test processes have two cores.
FLAGS = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1"
)
OLDER = " --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""
"""An unknown flag ends the process, and jaxlib 0.12, which the lock has for Python 3.12 and later, knows it no more."""
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}{OLDER}".strip()
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("NO_COLOR", "1")
# Two test processes with two threads each, which wait for one another at every step of a fit by spinning, fight for
# two cores: small fits then take a hundred times longer.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Whoever starts the tests may have told them, and so the processes that they start, to ignore a hang-up or Ctrl-C.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """Equal programs are compiled once, whichever test and whichever test process needs them first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    jax.config.update("jax_compilation_cache_dir", str(shared / "compiled"))
    jax.config.update(
        "jax_compilation_cache_max_size", 2**32
    )  # Where there is a bound, files are written under a lock.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture
def browser():
    """A page of a headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="pages are looked at through it: pip install playwright")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here to look at the page with")
    with api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=program, args=["--no-sandbox"])  # as root in a container
        yield started.new_page()
        started.close()
