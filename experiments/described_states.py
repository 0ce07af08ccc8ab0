"""What the frozen states of an encoder know of a described task that no adapter was trained for.

    MINILM=FOLDER DATA=FOLDER python -m experiments.described_states results/described-states.json

Each text, and each description, is the mean of the backbone's last states, less that of all training texts (or
descriptions). A task is answered by the sign of w·x + b; a row of the output says where w comes from:

    own rows       logistic regression on the task's own training rows: what the states allow
    one for all    logistic regression on the rows of all training tasks
    nearest        the own w of the training task whose description is nearest
    written        w = P z of the description's state z, P (of rank 64) learned on the training tasks
    similarity     w = z itself, with one scale and one b for all, fitted on the training tasks
    both           w = z + P z, P of rank 64 learned from there

`shuffled` answers each held-out task by the description of another one. Scores are accuracies on test rows, by form of
the task: means over tasks; chance is 50.
"""

import os
import random
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from hyperadapters._utils import write_json
from hyperadapters.backbones import load_backbone
from hyperadapters.tasks import TASKS, described_tasks
from own_rates import MINILM

TRAIN, TEST, RANK, STEPS = 100, 100, 64, 1500
"""Rows of each task, the rank of P, and updates of 256 rows."""


class States:
    """Means of the last states of texts, each text computed once."""

    def __init__(self, folder: str) -> None:
        self.model, self.tokenizer = load_backbone(folder, head="none", device="cpu")
        self.known: dict[tuple[str, ...], Tensor] = {}

    @torch.no_grad()
    def __call__(self, texts: list[tuple[str, ...]]) -> Tensor:
        missing = sorted({text for text in texts if text not in self.known}, key=lambda text: sum(map(len, text)))
        for start in range(0, len(missing), 64):
            batch = missing[start : start + 64]
            columns = [[*column] for column in zip(*((*text, "")[:2] for text in batch), strict=True)]
            pairs = columns if any(columns[1]) else columns[:1]
            tokens = self.tokenizer(*pairs, padding=True, truncation=True, max_length=96, return_tensors="pt")
            states, mask = self.model(**tokens).last_hidden_state, tokens.attention_mask.unsqueeze(-1)
            self.known |= dict(zip(batch, (states * mask).sum(1) / mask.sum(1), strict=True))
        return torch.stack([self.known[text] for text in texts])


class Written(nn.Module):
    """w·x + b with w = (scale) z + P z, P of low rank."""

    def __init__(self, width: int, *, similarity: bool, projection: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0)) if similarity else None
        self.bias = nn.Parameter(torch.zeros(()))
        self.down = nn.Linear(width, RANK) if projection else None
        self.up = nn.Linear(RANK, width) if projection else None
        if self.up is not None:
            nn.init.zeros_(self.up.weight) if similarity else nn.init.normal_(self.up.weight, std=0.01)
            nn.init.zeros_(self.up.bias)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        w = torch.zeros_like(z) if self.scale is None else self.scale * z
        w = w if self.down is None or self.up is None else w + self.up(self.down(z))
        return (w * x).sum(-1) / z.shape[-1] ** 0.5 + self.bias


def learned(model: Written, tasks: list[dict[str, Any]], seed: int) -> Written:
    """Train it on rows of the training tasks, with a mixture of each task's descriptions drawn every time."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    for _ in range(STEPS):
        drawn = [(task, rng.randrange(TRAIN)) for task in rng.choices(tasks, k=256)]
        shares = torch.rand(256, 5, generator=generator).softmax(-1)
        z = (torch.stack([task["z"] for task, _ in drawn]) * shares.unsqueeze(-1)).sum(1)
        x = torch.stack([task["train"][0][row] for task, row in drawn])
        y = torch.stack([task["train"][1][row] for task, row in drawn])
        loss = F.binary_cross_entropy_with_logits(model(z, x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def fitted(x: Tensor, y: Tensor) -> Any:
    """Return a logistic regression."""
    return LogisticRegression(C=0.1, max_iter=500).fit(x.numpy(), y.numpy())


def all_tasks(states: States, data: Path) -> list[dict[str, Any]]:
    """Return every task of the family: its states, answers and descriptions."""
    found = []
    for part in ("train", "attribute", "form"):
        for name in described_tasks(part):
            examples, own = TASKS[name].examples(data), {"name": name, "part": part, "form": name[10:].split("-")[0]}
            for split, rows in {"train": TRAIN, "test": TEST}.items():
                chosen = examples[split][:rows]
                answers = torch.tensor([float(row.target) for row in chosen])
                own[split] = states([row.texts for row in chosen]), answers
            found.append({**own, "z": states([(wording,) for wording in TASKS[name].wordings])})
            print(name, flush=True)
    own = [task for task in found if task["part"] == "train"]
    x, z = torch.cat([task["train"][0] for task in own]), torch.cat([task["z"] for task in own])
    for task in found:
        task["z"] = (task["z"] - z.mean(0)) / z.std(0).mean()
        for split in ("train", "test"):
            task[split] = (task[split][0] - x.mean(0)) / x.std(0).mean(), task[split][1]
    return found


def accuracy(scores: Tensor, answers: Tensor) -> float:
    return 100 * float(((scores > 0).float() == answers).float().mean())


def main() -> None:
    torch.manual_seed(1)
    tasks = all_tasks(States(MINILM), Path(os.environ["DATA"]))
    train = [task for task in tasks if task["part"] == "train"]
    probes = {task["name"]: fitted(*task["train"]) for task in tasks}
    everything = [torch.cat([task["train"][i] for task in train]) for i in (0, 1)]
    one = fitted(*everything)
    models = {
        "written": learned(Written(384, similarity=False, projection=True), train, 1),
        "similarity": learned(Written(384, similarity=True, projection=False), train, 1),
        "both": learned(Written(384, similarity=True, projection=True), train, 1),
    }
    middles = F.normalize(torch.stack([task["z"].mean(0) for task in train]), dim=-1)
    report: dict[str, dict[str, dict[str, float]]] = {}
    for part in ("train", "attribute", "form"):
        own = [task for task in tasks if task["part"] == part]
        others = random.Random(3).sample(own, len(own))
        scores: dict[str, dict[str, list[float]]] = {}
        for task, other in zip(own, others, strict=True):
            x, y = task["test"]
            near = train[int((middles @ F.normalize(task["z"].mean(0), dim=-1)).argmax())]
            found = {
                "own rows": torch.from_numpy(probes[task["name"]].decision_function(x.numpy())),
                "one for all": torch.from_numpy(one.decision_function(x.numpy())),
                "nearest": torch.from_numpy(probes[near["name"]].decision_function(x.numpy())),
            }
            with torch.no_grad():
                for name, model in models.items():
                    found[name] = model(task["z"].mean(0).expand_as(x), x)
                    found[f"{name}, shuffled"] = model(other["z"].mean(0).expand_as(x), x)
            for name, values in found.items():
                scores.setdefault(name, {}).setdefault(task["form"], []).append(accuracy(values, y))
        report[part] = {
            name: {**{form: round(mean(each), 1) for form, each in by_form.items()},
                   "all": round(float(np.mean([each for own in by_form.values() for each in own])), 1)}
            for name, by_form in scores.items()
        }  # fmt: skip
        for name, by_form in report[part].items():
            print(part, name, by_form, flush=True)
    write_json(Path(sys.argv[1]), report)


if __name__ == "__main__":
    main()
