"""lm-evaluation-harness on an attached model, on a saved folder, and on many adapters in mixed batches."""

import json

import pytest
import torch
from command_line import refuses, works
from families import FAMILIES
from tiny_encoders import rows_in, tiny_encoder

import hyperadapters as ha

lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (hyperadapters[bridges])")
pytestmark = pytest.mark.filterwarnings("ignore")

TASK = """task: kings
dataset_path: json
dataset_kwargs:
  data_files: {test: FILE}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - metric: acc
  - metric: brier_score
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A decoder, a task of one's own, and three adapters that differ."""
    place = tmp_path_factory.mktemp("harness")
    _, tokenizer = ha.load_backbone("embedded")
    FAMILIES["llama"].make(vocab_size=len(tokenizer), max_position_embeddings=256).save_pretrained(place / "lm")
    tokenizer.save_pretrained(place / "lm")
    rows = [{"q": f"the {word} king is", "choices": ["tall", "shy", "old enough"], "gold": number % 3}
            for number, word in enumerate("good big shy old new fine".split())]  # fmt: skip
    (place / "tasks").mkdir()
    file = rows_in(place / "tasks" / "rows.jsonl", rows)
    (place / "tasks" / "kings.yaml").write_text(TASK.replace("FILE", str(file)))
    for seed in range(3):
        delta = ha.attach(ha.load_backbone(str(place / "lm"))[0], "houlsby", f"a{seed}", seed=seed)
        with torch.no_grad():
            for tensor in delta.trained().values():
                tensor.add_(torch.randn(tensor.shape), alpha=0.3)
        delta.save(place / "adapters" / f"a{seed}")
    return place


def scores(model, place):
    manager = lm_eval.tasks.TaskManager(include_path=str(place / "tasks"), include_defaults=False)
    found = lm_eval.simple_evaluate(model=model, tasks=["kings"], task_manager=manager, bootstrap_iters=0)
    return {name.split(",")[0]: value for name, value in found["results"]["kings"].items() if isinstance(value, float)}


def test_many_adapters_in_mixed_batches_score_as_each_attached_model_by_itself(place):
    from lm_eval.models.huggingface import HFLM

    words = ("--tasks", "kings", "--include-path", place / "tasks", "--batch-size", "7", "--json")
    found = json.loads(works("harness", place / "adapters", *words).stdout.splitlines()[-1])["results"]
    assert len({scored["kings"]["brier_score"] for scored in found.values()}) == 3
    for name in ("a0", "a1", "a2"):
        backbone, tokenizer = ha.load_backbone(str(place / "lm"))
        ha.load(place / "adapters" / name, backbone)
        alone = scores(HFLM(pretrained=backbone, tokenizer=tokenizer, batch_size=4), place)
        assert found[name]["kings"] == pytest.approx(alone, rel=1e-5)


def test_a_saved_folder_is_a_model_of_the_harness(place):
    model = ha.harness_model(place / "adapters" / "a1", batch_size=5)
    words = ("--tasks", "kings", "--include-path", place / "tasks", "--json")
    found = json.loads(works("harness", place / "adapters" / "a1", *words).stdout.splitlines()[-1])["results"]
    assert found["a1"]["kings"] == pytest.approx(scores(model, place), rel=1e-5)


def test_wrong_inputs_are_told(place, tmp_path):
    with pytest.raises(ha.InputError, match="does not say which adapter answers it"):
        scores(ha.harness_model(place / "adapters"), place)
    assert "has no task to score" in refuses("harness", place / "adapters", "--tasks", ",")
    encoder, _ = ha.load_backbone(str(tiny_encoder(tmp_path / "bert")))
    ha.attach(encoder, "houlsby", outputs=2).save(tmp_path / "adapter")
    with pytest.raises(ha.InputError, match="trained on an encoder"):
        ha.harness_model(tmp_path / "adapter")
