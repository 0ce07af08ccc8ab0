"""A SentenceTransformer and a CrossEncoder with Deltas: encode, train, resume, save, load, many adapters at once."""

import copy
import json
import warnings

import numpy as np
import pytest
import torch
from sentence_models import TEXTS, sentence_folder, sentence_model
from tiny_encoders import tiny_encoder
from transformers import AutoModel

import hyperadapters as ha

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed (hyperadapters[bridges])")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

MIXED = [*"abccbabbacab"]
"""The task of each text."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sentence_folder(tmp_path_factory.mktemp("sentence"))


@pytest.fixture
def model(folder):
    return sentence_model(folder)


def moved(delta):
    """The Delta, far from where it starts, where adapters do next to nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
    return delta


def each_alone(delta, compute):
    """What every text gives with the adapter of its task, when all texts have that adapter."""
    alone = {}
    for task in "abc":
        with delta.rows(task):
            alone[task] = compute()
    assert abs(alone["a"] - alone["b"]).max() > 0.01
    return np.stack([alone[task][number] for number, task in enumerate(MIXED)])


def test_encode_computes_with_the_delta_and_without_it_gives_the_base_to_the_bit(model):
    base = model.encode(TEXTS)
    delta = moved(ha.attach(model, "houlsby"))
    assert (delta.backbone, ha.attached(model)) == (model.transformers_model, [delta])
    assert abs(model.encode(TEXTS) - base).max() > 0.01
    with delta.disabled():
        assert np.array_equal(model.encode(TEXTS), base)
    delta.detach()
    assert np.array_equal(model.encode(TEXTS), base)
    assert not {"encode", "predict"} & vars(model).keys()
    assert type(model[0]).forward.__module__.startswith("sentence_transformers")


def test_one_of_several_deltas_is_in_use_at_a_time(model):
    one, other = moved(ha.attach(model, "houlsby", "one", seed=1)), ha.attach(model, "compacter", "other", seed=2)
    with_other = model.encode(TEXTS)
    one.use()
    assert abs(model.encode(TEXTS) - with_other).max() > 0.01
    other.use()
    assert np.array_equal(model.encode(TEXTS), with_other)


@pytest.mark.parametrize("size", [5, 32])
def test_rows_follow_their_sentences_although_encode_sorts_them_by_length(size, model):
    delta = moved(ha.attach(model, "houlsby", tasks=["a", "b", "c"]))
    alone = each_alone(delta, lambda: model.encode(TEXTS))
    with delta.rows(MIXED):
        assert np.allclose(model.encode(TEXTS, batch_size=size), alone, atol=1e-5)
        normalized = model.encode(inputs=tuple(TEXTS), normalize_embeddings=True)
        assert np.allclose(normalized, alone / np.linalg.norm(alone, axis=1, keepdims=True), atol=1e-5)
        with pytest.raises(ha.InputError, match="2 inputs, and `rows` 12 tasks"):
            model.encode(TEXTS[:2])
        with pytest.raises(ha.InputError, match="several processes"):
            model.encode(TEXTS, device=["cpu", "cpu"])
        with pytest.raises(ha.InputError, match="for texts; an input is a int"):
            model.encode([1] * 12)


def test_a_copy_of_the_model_follows_rows_by_itself(model):
    delta = moved(ha.attach(model, "houlsby", tasks=["a", "b", "c"]))
    alone = each_alone(delta, lambda: model.encode(TEXTS))
    other = copy.deepcopy(model)
    delta.detach()
    (copied,) = ha.attached(other)
    with copied.rows(MIXED):
        assert np.allclose(other.encode(TEXTS, batch_size=5), alone, atol=1e-5)


def test_a_pool_gives_every_sentence_its_own_saved_adapter(model, tmp_path):
    alone = {}
    for seed, task in enumerate("abc"):
        delta = moved(ha.attach(model, "houlsby", task, seed=seed))
        delta.save(tmp_path / task)
        alone[task] = model.encode(TEXTS)
        delta.detach()
    pool = ha.Pool(model, {task: tmp_path / task for task in "abc"})
    with pool.rows(MIXED):
        mixed = model.encode(TEXTS, batch_size=5)
    assert np.allclose(mixed, np.stack([alone[task][i] for i, task in enumerate(MIXED)]), atol=1e-5)


def test_the_trainer_trains_the_delta_alone_and_resumes_to_the_same_numbers(folder, tmp_path):
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    def trainer():
        model = sentence_model(folder)
        delta = ha.attach(model, "compacter++", seed=0)
        arguments = SentenceTransformerTrainingArguments(
            str(tmp_path / "out"), max_steps=4, per_device_train_batch_size=4, learning_rate=1e-2, save_steps=2,
            report_to=[], use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        rows = Dataset.from_dict({"anchor": TEXTS, "positive": TEXTS[::-1]})
        return delta, SentenceTransformerTrainer(model, arguments, rows, loss=MultipleNegativesRankingLoss(model))

    delta, whole = trainer()
    base = sentence_model(folder).encode(TEXTS)
    assert {id(p) for p in whole.model.parameters() if p.requires_grad} == {id(p) for p in delta.trained().values()}
    whole.train()
    trained = whole.model.encode(TEXTS)
    assert abs(trained - base).max() > 0.01
    _, second = trainer()
    second.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert np.array_equal(second.model.encode(TEXTS), trained)
    with delta.disabled():
        assert np.array_equal(whole.model.encode(TEXTS), base)
    other = ha.attach(sentence_model(folder), "houlsby", "another")
    whole.model = other.around
    with pytest.raises(ha.InputError, match="of other adapters than are attached"):
        whole._load_from_checkpoint(str(tmp_path / "out" / "checkpoint-2"))


def test_what_is_saved_loads_onto_the_model_again(model, folder, tmp_path):
    moved(ha.attach(model, "houlsby", name="mine"))
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    again = sentence_model(folder)
    assert ha.load(tmp_path / "saved", again).name == "mine"
    assert np.array_equal(again.encode(TEXTS), model.encode(TEXTS))
    types = [module["type"] for module in json.loads((tmp_path / "saved" / "modules.json").read_text())]
    assert types == [f"{type(module).__module__}.{type(module).__name__}" for module in sentence_model(folder)]
    assert types[0].startswith("sentence_transformers.")
    assert not (tmp_path / "saved" / "config.json").exists()


def test_without_a_delta_in_use_the_whole_model_is_saved_and_loads_without_this_package(model, tmp_path):
    base = model.encode(TEXTS)
    with ha.attach(model, "houlsby").disabled():
        model.save_pretrained(str(tmp_path / "whole"), create_model_card=False)
    assert np.array_equal(sentence_model(tmp_path / "whole").encode(TEXTS), base)


def test_a_cross_encoder_scores_pairs_with_the_adapter_of_each(tmp_path):
    from sentence_transformers import CrossEncoder

    pairs = [(text, "the king") for text in TEXTS]
    AutoModel.from_pretrained(tiny_encoder(tmp_path / "bert")).save_pretrained(tmp_path / "bert")  # without a head
    model = CrossEncoder(str(tmp_path / "bert"), num_labels=1, device="cpu")
    base = model.predict(pairs)
    delta = moved(ha.attach(model, "houlsby", tasks=["a", "b", "c"]))
    alone = each_alone(delta, lambda: model.predict(pairs, activation_fn=torch.nn.Identity()))
    with delta.rows(MIXED):
        found = model.predict(pairs, batch_size=5, activation_fn=torch.nn.Identity())
        assert np.allclose(found, alone, atol=1e-5)
    delta.save(tmp_path / "delta")
    again = CrossEncoder(str(tmp_path / "bert"), num_labels=1, device="cpu")  # with a head drawn anew
    with ha.load(tmp_path / "delta", again).rows("a"), delta.rows("a"):
        assert np.array_equal(again.predict(pairs), model.predict(pairs))
    delta.detach()
    assert np.array_equal(model.predict(pairs), base)


def test_a_model_without_a_transformer_is_refused():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models

    embedding = StaticEmbedding(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), embedding_dim=4)
    with pytest.raises(ha.InputError, match="static embeddings: there is nothing to attach to"):
        ha.attach(SentenceTransformer(modules=[embedding], device="cpu"), "houlsby")
