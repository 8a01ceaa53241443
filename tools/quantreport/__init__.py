"""`geoc quant-report`: what quantization has made of a model, layer by layer, and how far each is from the original.

    layers = quantized_layers(model)                     # what there is: bits, bytes, ranges
    measured = measure(layers, model, original, observe) # what it costs: errors, shares that are clipped
"""
