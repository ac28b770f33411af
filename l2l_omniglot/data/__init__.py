"""Pixels come in here only, and become tasks.

- ``omniglot``: the official images: download, check, prepare as a ``.npy`` stack
- ``array_file``: ``.npy`` files, opened without pickle
- ``sidecar``: the JSON file beside a stack
- ``stack``: a class stack, checked when opened, read image by image
- ``synthetic``: invented characters as a stack
- ``splits``: train, validation and test classes
- ``augment``: a small random affine map of every image
- ``tasks``: numbered tasks from learn2learn's `TaskDataset`
- ``one_shot_runs``: the official one-shot test as tasks
- ``pictures``: a person's own pictures, made to look as Omniglot's
- ``photographs``: paper and ink of photographs, one pen for all ink
- ``picture_folders``: folders of such pictures, one a class
- ``strokes``: strokes of a pen as pictures
"""
