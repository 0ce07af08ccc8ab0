"""Programs that torchrun starts in two processes, over gloo."""

import os
import subprocess
import sys


def run_in_two_processes(folder, program, *words, **environment):
    """Run a program in a folder, with the folder as its first argument, and return the folder."""
    (folder / "program.py").write_text(program)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "program.py", "."]
    done = subprocess.run(
        [sys.executable, *torchrun, *words],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-20_000:]  # the process that failed first comes before what it broke
    return folder
