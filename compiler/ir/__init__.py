"""The Graph: what it is (`graph`), its operators, each described in one place (`ops`), its float
meaning (`evaluate`), and what can be asked of it (`shapes`, `queries`, `verify`, `to_onnx`).
"""
