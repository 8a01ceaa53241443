"""IR to better IR: passes, the -O levels as data, and what watches passes run. Imports `geoc.ir` alone.

`clean` holds passes that any compiler has (folding, dead code, common subexpressions), `simplify` what makes an ONNX
graph smaller (rule files and the passes beside them). `pipelines` lists the levels, `manager` runs them, `instruments`
verify, time, dump and trace on the way.

    from geoc.passes.base import Context
    from geoc.passes.clean.fold import Fold

    changed = Fold(max_bytes=1 << 20).run(model, Context())
"""
