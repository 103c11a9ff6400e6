"""Networks to try Moiety with: a trained DenseNet-121 (MODEL_CARD.md), its training and export,
synthetic radiographs.

Only `densenet`, `export` and `train` need PyTorch (`pip install moiety[train]`); this module
imports nothing.
"""

from pathlib import Path


def demo_model_path() -> Path:
    """The ONNX file of the shipped chest radiograph model; labels and preprocessing are
    in its metadata.
    """
    return Path(__file__).parent / "chest-densenet121.onnx"


def demo_ranges_path() -> Path:
    """Activation ranges of that model over 200 images of its training split, as
    `moiety compile --save-ranges` writes them: the model compiles without images.
    """
    return Path(__file__).parent / "chest-densenet121.ranges.safetensors"
