"""Results for people and programs.

- ``tables``: tables, Markdown, CSV and JSON
- ``plots``: plots by matplotlib; ``steps``: what inner steps say
- ``confusions``: hardest characters and most confused pairs
- ``contact_sheet``: classes and tasks as pictures; ``terminal``: the same in half blocks
- ``font``: one that has the letters of their names
- ``prediction_sheet``: what the network saw of pictures, under the predicted classes
- ``html``: one HTML file about one or more runs
"""
