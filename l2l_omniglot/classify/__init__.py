"""Few-shot classification of images that are not tasks.

- ``classifier``: a trained network adapted to one support set
- ``estimator``: the same as a scikit-learn classifier
- ``predictor``: from folders of pictures to predictions, as a table, JSON or CSV
- ``export``: an adapted classifier as an ONNX or torch.export file
"""
