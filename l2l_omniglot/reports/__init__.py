"""What people and programs read of results.

- ``tables``: results as tables, Markdown, CSV and JSON
- ``html``: one HTML file on one or more runs
- ``plots``: plots, by matplotlib
- ``confusions``: the hardest characters and the most confused pairs
- ``contact_sheet``: classes and tasks as pictures
- ``terminal``: such pictures in half blocks
"""
