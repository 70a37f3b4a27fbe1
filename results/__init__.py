"""What a study found: records, tables, figures, the report and the export."""
