"""Quantization: integers in place of floats, with scales.

    quantize-weights{bits=4,block=32,method=rtn}     weights alone, in blocks; what is computed with stays as it is
"""
