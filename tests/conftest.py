"""Fixtures. Tests in `SHAPES_CHECKED` check the shapes in `hyperadapters.layers`; compiled code runs in a process."""

import copy
import functools
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C, which is tested
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker has one core, and so have the processes that its tests start
SHAPES_CHECKED = {"layers", "methods", "parity"}
"""Folders of tests that run every layer; elsewhere the same checks would take a quarter of the time."""
HELPERS = [str(Path(__file__).parent), str(Path(__file__).parent / "support")]
os.environ["PYTHONPATH"] = os.pathsep.join([*HELPERS, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)

import jaxtyping  # noqa: E402

jaxtyping.install_import_hook("hyperadapters.layers", "beartype.beartype")
jaxtyping.config.update("jaxtyping_disable", True)

import filelock  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from transformers import T5Config, T5ForConditionalGeneration  # noqa: E402
from transformers.utils import logging  # noqa: E402

from hyperadapters.training import profiling  # noqa: E402

logging.disable_progress_bar()
torch.set_num_threads(1)
os.fsync = lambda file: None  # no test cuts the power
profiling._REPEATS = 1  # every run measures what a step costs; a test of a run needs no median of three

UNSEEN: dict[str, Any] = {
    **dict.fromkeys(("seconds", "steps", "best_step", "tokens", "padded_tokens"), 1),
    "averages": {},
    "intervals": {},
    "invalid": {},
    "baselines": {},
    "constant_answer": "",
    "rows": {},
    "rows_available": {},
    "rows_left_out": {},
    "truncated": {},
    "truncated_targets": {},
    "unwritable_targets": {},
    "compilations": 0,
    "decode": "score",
    "device": "cpu",
}
"""Fields of a result that no table shows."""
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def tiny_config(**changes: object) -> T5Config:
    values = {
        "vocab_size": 112,
        "d_model": 48,
        "d_kv": 12,
        "num_heads": 4,
        "d_ff": 64,
        "num_layers": 2,
        "dropout_rate": 0.0,
        "decoder_start_token_id": 0,
    }
    return T5Config(**{**values, **changes})


@functools.cache
def first_tiny(**changes: object) -> tuple[T5ForConditionalGeneration, torch.Tensor]:
    """Return the T5 that others are copies of, in half the time, and where the random numbers stand after it."""
    torch.manual_seed(0)
    backbone = T5ForConditionalGeneration(tiny_config(**changes)).eval()
    backbone.requires_grad_(False)
    return backbone, torch.get_rng_state()


def make_tiny(**changes: object) -> T5ForConditionalGeneration:
    backbone, random = first_tiny(**changes)
    torch.set_rng_state(random)
    return copy.deepcopy(backbone)


@pytest.fixture
def tiny() -> T5ForConditionalGeneration:
    """A real T5 with random weights, two layers a stack."""
    return make_tiny()


def make_batch(rows: int) -> dict[str, torch.Tensor]:
    """So many rows, the second padded."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 90, (rows, 9), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 6:], mask[1, 6:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.randint(3, 90, (rows, 4), generator=generator)}


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two rows, the second padded."""
    return make_batch(2)


def slow_but_for(kept: tuple[str, ...], names: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrize a test over methods, of which `make check` runs those that are kept."""
    every = [pytest.param(name, marks=() if name in kept else pytest.mark.slow) for name in names]
    return pytest.mark.parametrize("name", every)


def pytest_collection_finish() -> None:
    """Leave what imports made out of garbage collections, which look through it some thousand times otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def found_by(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Runs a script in a process of its own and gives the JSON of its last line; once, however many workers ask."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def run(script: str) -> Any:
        path = folder / f"{hashlib.sha256(script.encode()).hexdigest()[:16]}.json"
        with filelock.FileLock(f"{path}.lock"):
            if not path.exists():
                command = [sys.executable, "-c", script]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr[-3000:]
                path.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    return run


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.default_generator.manual_seed(0)  # torch.manual_seed writes down where it was called, for three other devices


@pytest.fixture(autouse=True)
def shapes_checked(request: pytest.FixtureRequest) -> None:
    jaxtyping.config.update("jaxtyping_disable", request.path.parent.name not in SHAPES_CHECKED)


@pytest.fixture
def shared() -> Path:
    """The folder of real data, or a skip."""
    if not SHARED.is_dir():
        pytest.skip("the real data sets are not on this machine (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of adapters of every kind on the embedded T5, for servers."""
    from saved_adapters import WORDS, save

    from hyperadapters import METHODS, Evaluation, load_backbone
    from hyperadapters.tasks.targets import FreeText, _Score

    folder = tmp_path_factory.mktemp("adapters")
    backbone, _ = load_backbone()
    torch.manual_seed(0)
    compacter = METHODS["compacter++"]
    save(folder / "mood" / "first", backbone, compacter)
    save(folder / "mood" / "second", backbone, compacter)
    save(folder / "words", backbone, compacter, target=WORDS)
    save(folder / "free", backbone, compacter, target=FreeText())
    save(folder / "number", backbone, compacter, target=_Score(0, 5, 1))
    save(folder / "beams", backbone, compacter, target=FreeText(), evaluation=Evaluation(beams=2))
    save(folder / "pairs", backbone, METHODS["houlsby"], ("demo/paraphrase",))
    save(folder / "whole", backbone, METHODS["full"])
    save(folder / "mix", backbone, METHODS["hyper-compacter"], ("demo/sentiment", "demo/paraphrase"))
    return folder


@pytest.fixture(scope="session")
def running(adapters: Path) -> Iterator[Any]:
    """A server of these adapters, which tests share."""
    from http_server import serving

    with serving(adapters) as found:
        yield found
