"""What an ONNX file carries beside its graph: metadata, and weights in half precision."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from moiety.models.onnx_file import IMAGENET, get_metadata, set_metadata, store_half
from moiety.protocols.errors import BadInput
from tests.support.nets import random_images, run_onnx, small_densenet, small_resnet


def test_metadata_is_read_back_and_replaced_and_leaves_other_entries() -> None:
    model = small_resnet()
    helper.set_model_props(model, {"author": "someone"})
    set_metadata(model, ["a"], IMAGENET)
    set_metadata(model, ["naïve, or not", "b"], IMAGENET)
    assert get_metadata(model) == (["naïve, or not", "b"], IMAGENET)
    assert len(model.metadata_props) == 3


def test_reading_metadata_names_the_entry_that_is_missing() -> None:
    with pytest.raises(KeyError, match=re.escape("moiety.labels")):
        get_metadata(small_resnet())


def test_half_storage_rounds_the_weights_and_nothing_else() -> None:
    model, batch = small_densenet(), random_images((3, 16, 16), 4, seed=2)
    before = run_onnx(model, batch)
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    for tensor in rounded.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim >= 2:
            tensor.CopyFrom(
                numpy_helper.from_array(array.astype(np.float16).astype(np.float32), tensor.name)
            )
    store_half(model)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(run_onnx(model, batch), run_onnx(rounded, batch))
    assert 0 < np.abs(run_onnx(model, batch) - before).max() < 0.02


def test_half_storage_refuses_what_it_cannot_hold() -> None:
    model = small_densenet()
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e6), weight.name)
    )
    with pytest.raises(BadInput, match=re.escape(weight.name)):
        store_half(model)
