"""What stands behind the last secret layer, as the client's public expression: `cut` says which
nodes these are, and a `@translator` function per ONNX op type emits operations. A new one is one
function in one file.
"""

from moiety.compiler.registry import import_all

import_all(__name__, __path__)
