"""Pixels enter here only, and become tasks.

``omniglot`` archives to ``omniglot.npy`` · ``sidecar`` its JSON file · ``stack`` images by class ·
``synthetic`` invented characters · ``splits`` train, validation, test · ``tasks`` few-shot tasks ·
``one_shot_runs`` Lake's test · ``pictures`` a person's own · ``picture_folders`` folders of them ·
``strokes`` drawings by pen
"""
