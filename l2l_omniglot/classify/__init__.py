"""Few-shot classification of images that are not tasks.

- ``classifier``: a trained network adapted to one support set
- ``inputs``: images as people pass them to it
- ``estimator``: the same as a scikit-learn classifier
- ``preparation``: pictures as images for the network
- ``predictor``: from folders of pictures to predictions
- ``predictions``: these, as a table, JSON or CSV
- ``export``: an adapted classifier as an ONNX or torch.export file
- ``companion``: the script beside such a file, which prepares pictures for it
"""
