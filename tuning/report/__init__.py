"""The report page: tables, figures, insights."""
