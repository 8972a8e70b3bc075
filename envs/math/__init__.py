"""Mathematics problems, generated or from a data set, and the verifier of their answers."""
