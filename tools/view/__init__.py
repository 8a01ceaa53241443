"""`geoc view`: models as one static page that a browser opens without a server or a network.

    text = view_page([read("model.onnx")])

Python reads models and dump folders and writes what the page is made of: statements (`records`), the scopes they are
in (`scopes`, `parts`), which statements of two graphs are the same (`pairing`), weights as statistics (`weights`),
rewrites with the texts of their rules (`dumps`, `rule_texts`). The scripts beside it lay out, draw and answer clicks.
"""
