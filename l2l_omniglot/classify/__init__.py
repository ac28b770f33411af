"""Classifying pictures by a few examples of each class.

- ``classifier``: a network adapted to one support set
- ``estimator``: that as a scikit-learn classifier
- ``predictor``: from folders of pictures to predictions
- ``predictions``: predictions as table, JSON or CSV
- ``export``: an adapted classifier as ONNX or torch.export archive
"""
