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
- ``pictures``: files of a person's own pictures, as drawings and as a network's input
- ``drawing``: a picture step by step: sheet, light, ink, what the network is to see
- ``light``: evenly lit or photographed, dark ink or light
- ``sheet``: the sheet of paper of a photograph, straightened
- ``ink``: the ink of a photograph
- ``ruled``: the ruled lines of its paper
- ``frame``: size, place and pen of ink, and its redrawing as Omniglot's is
- ``picture_folders``: folders of such pictures, one a class
- ``plain``: a picture as it is, square
- ``class_folders``: a folder of pictures as a data set
- ``stack_writer``: a class stack in the making, larger than memory
- ``strokes``: strokes of a pen as pictures
"""

DRAWINGS, IMAGES = "drawings", "images"
KINDS = DRAWINGS, IMAGES  # what is seen of a picture: the ink that is found in it, or all of it
INKS = ("auto", "dark", "light")
REDRAWS = ("auto", "always", "never")
ORDERS = ("tutorial", "random")  # splits that cut an order of all classes
GROUPS, ALPHABETS, VINYALS, MAML_PLUS_PLUS = "groups", "alphabets", "vinyals", "maml++"
COUNTED = (*ORDERS, GROUPS)  # splits of which numbers of classes can be asked for
ALL = "all"
PARTS = ("test", "validation", "train", ALL)  # of a split, or every class
NAMED_SPLITS = (*COUNTED, ALPHABETS, VINYALS, MAML_PLUS_PLUS)
