"""Results for people and programs.

- ``tables``: tables, Markdown, CSV and JSON
- ``plots``: plots by matplotlib
- ``confusions``: hardest characters and most confused pairs
- ``contact_sheet``: classes and tasks as pictures; ``terminal``: the same in half blocks
- ``html``: one HTML file about one or more runs
"""
