"""Running models on this machine: sessions that compute what a graph says, weights placed once, interleaved timing.

    calls = {"w8a8": partial(loaded(run, model, stem), feeds), SOURCE: partial(loaded_source(run, folder), feeds)}
    speed = measure(calls, ("w8a8",), threads=1, shape="1x128")
"""
