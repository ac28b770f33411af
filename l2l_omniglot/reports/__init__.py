"""Results for people and programs: tables, plots, pictures and an HTML report."""
