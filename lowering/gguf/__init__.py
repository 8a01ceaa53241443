"""Files of llama.cpp, GGUF: a decoder of the llama family is recognised in the graph, and its weights are written.

    geoc model.onnx --emit gguf -o model.gguf

GGUF holds no graph: its architecture is a name, and llama.cpp builds the graph of that name from sizes and weights.
So what is written is a claim about the graph, and `llama` proves it node by node or says what it did not find.
"""
