"""Two models on the same inputs: how far their outputs are apart, and the values inside that correspond.

`sides` opens the models, `ports` brings their inputs and outputs together, `engines` runs them, `errors` measures,
`inside` compares the values of nodes, `comparison` does it all.
"""
