"""What is trained through torch.compile."""

from conftest import make_tiny
from hyperadapters import Training
from hyperadapters.backbones.compilation import CompiledModel, bucket
from hyperadapters.training.compile_policy import (
    _WORTH_COMPILING,
    _buckets_worth_compiling,
    _compiled_model,
    _may_compile,
)


def test_buckets_are_worth_it_that_enough_passes_meet():
    longest = [10, 11, 12, 60]
    passes = _WORTH_COMPILING
    assert _buckets_worth_compiling(longest, passes, 1) == {bucket(10), bucket(60)}
    assert _buckets_worth_compiling(longest, passes / 3, 1) == {bucket(10)}
    assert _buckets_worth_compiling(longest, passes / 3, 4) == {bucket(10), bucket(60)}
    assert _buckets_worth_compiling(longest, passes / 4, 1) == set()


def test_a_backbone_on_a_cpu_is_not_compiled_unasked(tiny):
    assert not _may_compile(tiny, Training(lr=1e-3))


def test_the_model_itself_trains_where_nothing_is_compiled():
    backbone = make_tiny()
    off, automatic, on = (Training(lr=1e-3, compile=how) for how in (False, "auto", True))
    assert _compiled_model(backbone, backbone, off, 0, {16}) is backbone
    assert _compiled_model(backbone, backbone, automatic, 0, set()) is backbone
    assert _compiled_model(backbone, backbone, automatic, 0, None) is backbone
    assert isinstance(_compiled_model(backbone, backbone, automatic, 0, {16}), CompiledModel)
    assert isinstance(_compiled_model(backbone, backbone, on, 0, None), CompiledModel)
