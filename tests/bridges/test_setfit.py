"""A SetFitModel whose body has a Delta: training, head, saving, loading."""

import joblib
import numpy as np
import pytest
from sentence_models import TEXTS, sentence_folder

import hyperadapters as ha

setfit = pytest.importorskip("setfit", reason="setfit is not installed (hyperadapters[bridges])")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.mark.parametrize("differentiable", [False, True])
def test_setfit_trains_the_delta_and_its_head_and_what_is_saved_answers_alike(differentiable, tmp_path):
    from datasets import Dataset

    folder = sentence_folder(tmp_path)
    options = {"use_differentiable_head": True, "head_params": {"out_features": 2}} if differentiable else {}

    def make():
        return setfit.SetFitModel.from_pretrained(str(folder), **options)

    model = make()
    base = model.model_body.encode(TEXTS)
    delta = ha.attach(model.model_body, "compacter++", seed=0)
    arguments = setfit.TrainingArguments(
        str(tmp_path / "out"), batch_size=4, max_steps=4, num_epochs=1, body_learning_rate=1e-2, end_to_end=True,
        report_to=[], save_strategy="no",
    )  # fmt: skip
    rows = Dataset.from_dict({"text": TEXTS, "label": [number % 2 for number in range(len(TEXTS))]})
    setfit.Trainer(model, arguments, train_dataset=rows).train()
    assert abs(model.model_body.encode(TEXTS) - base).max() > 0.01
    model.save_pretrained(str(tmp_path / "saved"))
    again = make()
    ha.load(tmp_path / "saved", again.model_body)
    again.model_head = joblib.load(tmp_path / "saved" / "model_head.pkl")
    assert np.array_equal(again.predict_proba(TEXTS, as_numpy=True), model.predict_proba(TEXTS, as_numpy=True))
    with delta.disabled():
        assert np.array_equal(model.model_body.encode(TEXTS), base)


def test_setfit_unfreezing_the_body_is_told(tmp_path):
    model = setfit.SetFitModel.from_pretrained(str(sentence_folder(tmp_path)))
    ha.attach(model.model_body, "compacter++")
    model.unfreeze("body")
    features = model.model_body.preprocess(TEXTS)
    with pytest.warns(UserWarning, match="all of the backbone trains beside the Delta"):
        model.model_body.train()(features)
